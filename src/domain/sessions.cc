#include "domain/sessions.h"

#include <algorithm>

namespace gpuward {

Sessions::Session* Sessions::get(std::uint64_t session, Instant now) {
  auto at = sessions_.find(session);
  if (at == sessions_.end()) {
    if (sessions_.size() >= kMost) {
      auto oldest = sessions_.end();
      for (auto it = sessions_.begin(); it != sessions_.end(); ++it)
        if (it->second.idle() &&
            (oldest == sessions_.end() || it->second.used < oldest->second.used))
          oldest = it;
      if (oldest == sessions_.end()) return nullptr;
      sessions_.erase(oldest);
    }
    at = sessions_.try_emplace(session).first;
  }
  at->second.used = now;
  return &at->second;
}

std::optional<ReplicaId> Sessions::bound(std::uint64_t session) const {
  const auto at = sessions_.find(session);
  return at == sessions_.end() ? std::nullopt : at->second.replica;
}

bool Sessions::in_use(std::uint64_t session) const {
  const auto at = sessions_.find(session);
  return at != sessions_.end() && at->second.in_use();
}

std::vector<JobId> Sessions::waiting(std::uint64_t session) const {
  const auto at = sessions_.find(session);
  return at == sessions_.end() ? std::vector<JobId>{} : at->second.waiting;
}

void Sessions::wait(std::uint64_t session, JobId job, Instant now) {
  if (Session* of = get(session, now)) of->waiting.push_back(job);
}

void Sessions::wait_no_more(std::uint64_t session, JobId job) {
  if (const auto at = sessions_.find(session); at != sessions_.end())
    std::erase(at->second.waiting, job);
}

bool Sessions::begin(std::uint64_t session, ReplicaId replica, Instant now) {
  Session* of = get(session, now);
  if (of == nullptr) return false;
  ++of->in_flight;
  if (of->replica) return false;
  of->replica = replica;
  return true;
}

void Sessions::end(std::uint64_t session, Instant now) {
  const auto at = sessions_.find(session);
  if (at == sessions_.end()) return;
  if (at->second.in_flight > 0) --at->second.in_flight;
  at->second.used = now;
}

void Sessions::hold(std::uint64_t session, Instant now) {
  if (Session* of = get(session, now)) ++of->holds;
}

void Sessions::release(std::uint64_t session, Instant now) {
  const auto at = sessions_.find(session);
  if (at == sessions_.end()) return;
  if (at->second.holds > 0) --at->second.holds;
  at->second.used = now;
}

void Sessions::unbind(std::uint64_t session) {
  if (const auto at = sessions_.find(session); at != sessions_.end()) at->second.replica.reset();
}

std::vector<std::uint64_t> Sessions::of_replica(ReplicaId replica) const {
  std::vector<std::uint64_t> found;
  for (const auto& [id, session] : sessions_)
    if (session.replica == replica) found.push_back(id);
  return found;
}

void Sessions::pass_time(Instant now) {
  constexpr Duration kEvery = std::chrono::minutes(1);
  if (now - swept_ < kEvery) return;
  swept_ = now;
  std::erase_if(sessions_, [&](const auto& entry) {
    return entry.second.idle() && now - entry.second.used >= kKeepIdle;
  });
}

}  // namespace gpuward
