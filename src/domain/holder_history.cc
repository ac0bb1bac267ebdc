#include "domain/holder_history.h"

#include <algorithm>

namespace gpuward {
namespace {

constexpr std::size_t kMostVacancies = 256;

}  // namespace

bool HolderHistory::take_vacancy(Pid parent) {
  const auto at = std::ranges::find(vacancies_, parent);
  if (at == vacancies_.end()) return false;
  vacancies_.erase(at);
  return true;
}

HolderHistory::Entry HolderHistory::make(const Sight& sight, Instant now) {
  Entry entry;
  entry.use.first_seen = entry.use.idle_since = now;
  const bool vacancy = take_vacancy(sight.parent);
  // Before the first look nobody watched, and neither did anybody while it was in no row.
  const bool unknown = last_ == Instant{} || sight.age > kUnseenPast;
  entry.use.start_up_body = sight.start_up_body || vacancy || unknown;
  entry.parent = sight.parent;
  entry.memory = sight.memory;
  entry.cpu_ticks = entry.idle_from_ticks = sight.cpu_ticks;
  return entry;
}

// Work since the last look, by any sign of it.
bool HolderHistory::worked(Entry& entry, const Sight& sight, Instant now) {
  const bool moved = sight.memory != entry.memory;
  entry.memory = sight.memory;
  bool ran = false;
  if (sight.cpu_ticks) {
    const auto ticks = *sight.cpu_ticks;
    const auto since = [&](const std::optional<std::uint64_t>& then) {
      return then && ticks > *then ? ticks - *then : 0;
    };
    const double seconds = std::chrono::duration<double>(now - entry.use.idle_since).count();
    const double allowed = static_cast<double>(kIdleBurstTicks - 1) + seconds * kIdleTicksPerSecond;
    ran = since(entry.cpu_ticks) >= kIdleBurstTicks ||
          static_cast<double>(since(entry.idle_from_ticks)) > allowed;
    entry.use.cpu_known = entry.cpu_ticks.has_value();
    entry.cpu_ticks = ticks;
    if (!entry.idle_from_ticks) entry.idle_from_ticks = ticks;
  }
  return moved || ran || sight.busy;
}

void HolderHistory::forget_the_ended(const std::function<bool(const ProcessId&)>& lives) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    Entry& entry = at->second;
    if (!entry.seen) entry.missed = lives && lives(at->first);
    if (entry.seen || entry.missed) {
      ++at;
      continue;
    }
    if (entry.use.start_up_body) {
      if (vacancies_.size() == kMostVacancies) vacancies_.pop_front();
      vacancies_.push_back(entry.parent);
    }
    at = entries_.erase(at);
  }
}

void HolderHistory::see(std::span<const Sight> sights, Instant now,
                        const std::function<bool(const ProcessId&)>& lives) {
  const bool late = last_ != Instant{} && now - last_ > kLongestGap;
  for (auto& [id, entry] : entries_) entry.seen = false;
  // The ended first: whoever came since may have taken a place.
  for (const Sight& sight : sights)
    if (const auto at = entries_.find(sight.id); at != entries_.end()) at->second.seen = true;
  forget_the_ended(lives);
  for (const Sight& sight : sights) {
    const auto at = entries_.find(sight.id);
    if (at == entries_.end()) {
      if (entries_.size() < kMost)
        entries_.emplace(sight.id, make(sight, now)).first->second.seen = true;
      continue;
    }
    Entry& entry = at->second;
    const bool gap = std::exchange(entry.missed, false) || late;
    entry.use.start_up_body |= sight.start_up_body;
    const bool active = worked(entry, sight, now);
    if (!active && !gap) continue;
    entry.use.worked_again |= active && !gap && now - entry.use.idle_since >= kLull;
    entry.use.idle_since = now;
    entry.idle_from_ticks = entry.cpu_ticks;
    entry.use.cpu_known = false;
  }
  last_ = now;
}

const HolderHistory::Use* HolderHistory::find(const ProcessId& id) const {
  const auto at = entries_.find(id);
  return at == entries_.end() ? nullptr : &at->second.use;
}

HolderHistory::Use* HolderHistory::find(const ProcessId& id) {
  const auto at = entries_.find(id);
  return at == entries_.end() ? nullptr : &at->second.use;
}

}  // namespace gpuward
