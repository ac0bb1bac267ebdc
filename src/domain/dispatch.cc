#include "domain/dispatch.h"

#include <algorithm>
#include <tuple>

namespace gpuward {
namespace {

/// So many that memory keeps are looked past in one search.
constexpr std::uint32_t kMostPassed = 8;
/// For so many service times smaller jobs may pass the one that memory keeps.
constexpr int kPassFor = 2;
/// Of a job whose duration nobody knows.
constexpr Duration kGuess = std::chrono::seconds(10);

}  // namespace

std::string_view name(ReplicaState state) {
  switch (state) {
    case ReplicaState::down:
      return "down";
    case ReplicaState::ready:
      return "ready";
    case ReplicaState::draining:
      return "draining";
  }
  return "unknown";
}

Dispatcher::Dispatcher(const DispatchSettings& settings, MemoryPool& host)
    : settings_(settings),
      host_(host),
      queue_(settings.queue),
      emergencies_(settings.emergency_share) {}

Dispatcher::Replica* Dispatcher::find(ReplicaId replica) const {
  return replica.value < replicas_.size() ? replicas_[replica.value].get() : nullptr;
}

void Dispatcher::add_replica(ReplicaId replica, MemoryPool* card) {
  if (replica.value >= replicas_.size()) replicas_.resize(replica.value + 1);
  auto& at = replicas_[replica.value];
  if (!at)
    at = std::make_unique<Replica>(replica, card == nullptr ? no_card_ : *card, host_,
                                   settings_.limiter);
}

void Dispatcher::ready(ReplicaId id, Instant /*now*/) {
  Replica* replica = find(id);
  if (replica == nullptr || replica->state == ReplicaState::ready) return;
  replica->state = ReplicaState::ready;
}

void Dispatcher::drain(ReplicaId id, Instant /*now*/) {
  Replica* replica = find(id);
  if (replica == nullptr || replica->state != ReplicaState::ready) return;
  replica->state = ReplicaState::draining;
  for (const std::uint64_t session : sessions_.of_replica(id))
    if (!sessions_.in_use(session)) move_session(session, JobQueue::kAnyLane);
}

std::vector<JobId> Dispatcher::down(ReplicaId id, Instant now) {
  std::vector<JobId> had;
  Replica* replica = find(id);
  if (replica == nullptr) return had;
  replica->state = ReplicaState::down;
  for (auto& [job, flight] : flights_) {
    if (flight.replica != replica) continue;
    had.push_back({job});
    flight.replica = nullptr;
    flight.gpu.release(now);
    flight.host.release(now);
  }
  if (!had.empty()) replica->limiter.failed(now);
  replica->limiter.restart(now);
  replica->gpu.restart();
  replica->host.restart();
  for (const std::uint64_t session : sessions_.of_replica(id))
    move_session(session, JobQueue::kAnyLane);
  return had;
}

bool Dispatcher::drained(ReplicaId id) const {
  return std::ranges::none_of(flights_, [&](const auto& entry) {
    return entry.second.replica != nullptr && entry.second.replica->id == id;
  });
}

void Dispatcher::see(ReplicaId id, const ReplicaSample& sample, Instant now) {
  Replica* replica = find(id);
  if (replica == nullptr) return;
  replica->gpu.see(sample.gpu, now);
  replica->host.see(sample.host, now);
}

// To the any lane: it is bound to none from now on.
void Dispatcher::move_session(std::uint64_t session, std::uint32_t lane) {
  if (lane == JobQueue::kAnyLane) sessions_.unbind(session);
  for (const JobId job : sessions_.waiting(session)) queue_.move(job, lane);
}

void Dispatcher::release_session(std::uint64_t session, Instant now) {
  sessions_.release(session, now);
  session_ended_one(session, now);
}

// Where its replica drains, a session is bound anew as soon as nothing of it is there any more.
void Dispatcher::session_ended_one(std::uint64_t session, Instant /*now*/) {
  const auto bound = sessions_.bound(session);
  if (!bound || sessions_.in_use(session)) return;
  const Replica* replica = find(*bound);
  if (replica == nullptr || replica->state != ReplicaState::ready)
    move_session(session, JobQueue::kAnyLane);
}

std::uint32_t Dispatcher::lane_for(const Job& job) {
  if (job.session == 0) return JobQueue::kAnyLane;
  session_ended_one(job.session, job.arrived);
  const auto bound = sessions_.bound(job.session);
  return bound ? lane_of(*bound) : JobQueue::kAnyLane;
}

Pace Dispatcher::pace(Instant now) const {
  Pace pace{.at_once = 0, .usual = times_.usual()};
  for (const auto& replica : replicas_) {
    if (!replica || replica->state != ReplicaState::ready) continue;
    pace.at_once += replica->limiter.at_once();
    const auto in_flight = replica->limiter.in_flight();
    pace.free += replica->limiter.limit() - std::min(in_flight, replica->limiter.limit());
  }
  pace.at_once = std::max(pace.at_once, 1.0);
  for (const auto& [job, flight] : flights_)
    pace.in_flight += std::max(flight.expected - (now - flight.began), Duration{});
  return pace;
}

std::optional<Refusal> Dispatcher::never_fits(const Job& job, Instant now) const {
  const auto bound = sessions_.bound(job.session);
  std::optional<Refusal> refusal;
  for (const auto& replica : replicas_) {
    if (!replica || (bound && replica->id != *bound)) continue;
    const auto gpu = replica->gpu.never_fits(job.size, now);
    const auto host = gpu ? std::nullopt : replica->host.never_fits(job.size, now);
    if (!gpu && !host) return std::nullopt;
    const NoRoom& room = gpu ? *gpu : *host;
    if (refusal && refusal->available >= room.available) continue;
    refusal =
        Refusal{.reason = gpu ? RefusalReason::does_not_fit_gpu : RefusalReason::does_not_fit_host,
                .needed = room.needed,
                .available = room.available};
  }
  return refusal;
}

std::expected<Arrival, Refusal> Dispatcher::arrive(const Job& job, Instant now) {
  if (const auto refusal = never_fits(job, now)) return std::unexpected(*refusal);
  const Pace now_pace = pace(now);
  if (job.job_class == JobClass::emergency) {
    emergencies_.pass_time(now, now_pace.at_once);
    const auto takes = times_.find(job.route, job.size);
    emergencies_.arrived(takes ? takes->usual : now_pace.usual.value_or(Duration{}));
  }
  Arrival arrival;
  auto entered = queue_.arrive(job, lane_for(job), times_, now_pace, now, arrival.displaced);
  for (const RefusedJob& gone : arrival.displaced) sessions_.wait_no_more(gone.session, gone.id);
  if (!entered) return std::unexpected(entered.error());
  if (job.session != 0) sessions_.wait(job.session, job.id, now);
  return arrival;
}

Cancelled Dispatcher::cancel(JobId id, Instant /*now*/) {
  if (const WaitingJob* waiting = queue_.find(id)) {
    sessions_.wait_no_more(waiting->job.session, id);
    queue_.forget(id);
    return Cancelled::waiting;
  }
  const auto flight = flights_.find(id.value);
  if (flight == flights_.end()) return Cancelled::unknown;
  flight->second.client_left = true;
  return Cancelled::in_flight;
}

void Dispatcher::tell_limiter(const Flight& flight, JobEnd end, Instant now) {
  Replica& replica = *flight.replica;
  const Job& job = flight.ticket.job;
  if (end == JobEnd::out_of_memory) replica.gpu.see_failure(job.size, now);
  if (end == JobEnd::out_of_memory || end == JobEnd::replica_died) replica.limiter.failed(now);
  if (end != JobEnd::done) return replica.limiter.left(now);

  const Duration took = now - flight.began;
  const auto before = replica.times.find(job.route, job.size);
  replica.times.add(job.route, job.size, took);
  times_.add(job.route, job.size, took);
  replica.gpu.see_job(job.size, now);
  replica.host.see_job(job.size, now);
  const bool seen = !replica.gpu.pool().known() || replica.gpu.fresh(now);
  const double floor = before ? std::chrono::duration<double>(before->floor).count() : 0;
  const double stretch = floor > 0 ? std::chrono::duration<double>(took).count() / floor : 0;
  replica.limiter.done(stretch, seen, now);
}

bool Dispatcher::finish(JobId id, JobEnd end, Instant now) {
  const auto at = flights_.find(id.value);
  if (at == flights_.end()) return false;
  Flight& flight = at->second;
  const Job& job = flight.ticket.job;
  if (flight.replica != nullptr) tell_limiter(flight, end, now);
  flight.gpu.release(now);
  flight.host.release(now);
  if (job.job_class == JobClass::emergency) emergencies_.worked(now - flight.began);
  if (job.session != 0) {
    sessions_.end(job.session, now);
    session_ended_one(job.session, now);
  }
  flights_.erase(at);
  return true;
}

bool Dispatcher::give_back(JobId id, Instant now) {
  const auto at = flights_.find(id.value);
  if (at == flights_.end() || at->second.client_left) return false;
  Flight flight = std::move(at->second);
  flights_.erase(at);
  if (flight.replica != nullptr) flight.replica->limiter.left(now);
  flight.gpu.release(now);
  flight.host.release(now);
  const Job& job = flight.ticket.job;
  if (job.session != 0) {
    sessions_.end(job.session, now);
    sessions_.wait(job.session, id, now);
  }
  queue_.come_back(flight.ticket, lane_for(job), times_, now);
  return true;
}

void Dispatcher::pump(Instant now, Turn& turn) {
  double at_once = 0;
  for (const auto& replica : replicas_)
    if (replica && replica->state == ReplicaState::ready) at_once += replica->limiter.at_once();
  emergencies_.pass_time(now, at_once);
  sessions_.pass_time(now);
  const std::size_t before = turn.refused.size();
  queue_.pass_time(now, times_, turn.refused);
  for (std::size_t i = before; i < turn.refused.size(); ++i)
    sessions_.wait_no_more(turn.refused[i].session, turn.refused[i].id);
  while (start_next(now, turn)) {
  }
}

void Dispatcher::find_open(Search& search) const {
  for (const auto& replica : replicas_)
    if (replica && replica->state == ReplicaState::ready &&
        replica->limiter.in_flight() < replica->limiter.limit())
      search.open.push_back(replica.get());
  std::ranges::sort(search.open, [](const Replica* a, const Replica* b) {
    const auto key = [](const Replica& of) {
      return std::tuple(of.gpu.reserved(), of.limiter.in_flight(), of.id);
    };
    return key(*a) < key(*b);
  });
}

bool Dispatcher::start_next(Instant now, Turn& turn) {
  if (queue_.size() == 0) return false;
  Search search;
  find_open(search);
  if (search.open.empty()) return false;
  for (const std::uint8_t level : JobQueue::level_order(emergencies_.first())) {
    if (search.given_up) return false;
    if (try_level(level, now, turn, search)) return true;
  }
  return false;
}

// Emergencies that come often find a place: the last one is theirs.
bool Dispatcher::one_is_for_emergencies(const Search& search) const {
  if (!emergencies_.often() || !emergencies_.first()) return false;
  std::uint32_t free = 0;
  for (const Replica* replica : search.open)
    free += replica->limiter.limit() - replica->limiter.in_flight();
  std::uint32_t all = 0;
  for (const auto& replica : replicas_)
    if (replica && replica->state == ReplicaState::ready) all += replica->limiter.limit();
  return free == 1 && all > 1;
}

// The first of this level that can start does, in the order over all lanes that have a place.
bool Dispatcher::try_level(std::size_t level, Instant now, Turn& turn, Search& search) {
  constexpr std::size_t kFirstOfOthers = 2;
  if (level >= kFirstOfOthers && one_is_for_emergencies(search)) {
    search.given_up = true;
    return false;
  }
  std::vector<const WaitingJob*> heads;
  const auto add_head = [&](std::uint32_t lane) {
    if (const WaitingJob* head = queue_.first(level, lane)) heads.push_back(head);
  };
  add_head(JobQueue::kAnyLane);
  for (const Replica* replica : search.open) add_head(lane_of(replica->id));
  while (!heads.empty() && !search.given_up) {
    const auto first =
        std::ranges::min_element(heads, [](const WaitingJob* a, const WaitingJob* b) {
          return std::tie(a->key, a->seq) < std::tie(b->key, b->seq);
        });
    const WaitingJob& waiting = **first;
    const WaitingJob* next = JobQueue::next(waiting);
    if (try_start(waiting, now, turn, search) == Try::started) return true;
    if (next != nullptr) {
      *first = next;
    } else {
      heads.erase(first);
    }
  }
  return false;
}

Dispatcher::Try Dispatcher::try_start(const WaitingJob& waiting, Instant now, Turn& turn,
                                      Search& search) {
  const Job& job = waiting.job;
  const bool doubtful = (waiting.level & 1U) != 0;
  const auto takes = times_.find(job.route, job.size);
  if (job.deadline && now + (takes ? takes->floor : Duration{}) > *job.deadline) {
    turn.refused.push_back(
        {.id = job.id, .session = job.session, .refusal = queue_.too_late(waiting, times_, now)});
    sessions_.wait_no_more(job.session, job.id);
    queue_.forget(turn.refused.back().id);
    return Try::refused;
  }
  if (job.deadline && takes && !doubtful && now + takes->safe > *job.deadline) {
    queue_.doubt(waiting);
    return Try::doubted;
  }
  const MemoryPool* full = nullptr;
  for (Replica* replica : search.open) {
    if (waiting.lane != JobQueue::kAnyLane && waiting.lane != lane_of(replica->id)) continue;
    if (search.left_to_head != nullptr &&
        (&replica->gpu.pool() == search.left_to_head || &host_ == search.left_to_head))
      continue;
    if (try_replica(waiting, *replica, now, turn, full)) return Try::started;
  }
  note_kept(waiting, full, now, search);
  return Try::kept;
}

// The first that memory keeps is passed for a while; then its card, or the host, is left to it.
void Dispatcher::note_kept(const WaitingJob& waiting, const MemoryPool* full, Instant now,
                           Search& search) {
  if (++search.passed > kMostPassed) search.given_up = true;
  if (search.head != nullptr || full == nullptr) return;
  search.head = &waiting;
  queue_.note_blocked(waiting, now);
  const Duration usual = waiting.unknown ? times_.usual().value_or(kGuess) : waiting.work;
  if (now - waiting.blocked.value_or(now) >= kPassFor * usual) search.left_to_head = full;
}

bool Dispatcher::try_replica(const WaitingJob& waiting, Replica& replica, Instant now, Turn& turn,
                             const MemoryPool*& full) {
  const Job& job = waiting.job;
  auto gpu = replica.gpu.reserve(job.size, now);
  if (!gpu) {
    if (full == nullptr) full = &replica.gpu.pool();
    return false;
  }
  auto host = replica.host.reserve(job.size, now);
  if (!host) {
    gpu->release(now);
    if (full == nullptr) full = &host_;
    return false;
  }
  const Duration usual = times_.usual().value_or(Duration{});
  Flight flight{.ticket = {},
                .replica = &replica,
                .began = now,
                .expected = waiting.unknown ? usual : waiting.work,
                .gpu = std::move(*gpu),
                .host = std::move(*host)};
  flight.ticket = queue_.take(waiting);
  const Job& taken = flight.ticket.job;
  replica.limiter.began(now);
  turn.start.push_back({.job = taken.id, .replica = replica.id});
  if (taken.session != 0) {
    sessions_.wait_no_more(taken.session, taken.id);
    if (sessions_.begin(taken.session, replica.id, now))
      move_session(taken.session, lane_of(replica.id));
  }
  const auto key = taken.id.value;
  flights_.emplace(key, std::move(flight));
  return true;
}

void Dispatcher::refuse_all(RefusalReason reason, std::vector<RefusedJob>& refused, Instant now) {
  const std::size_t before = refused.size();
  for_each_place(now, [&](JobId id, const Place& place) {
    const WaitingJob* waiting = queue_.find(id);
    refused.push_back(
        {.id = id,
         .session = waiting->job.session,
         .refusal = {.reason = reason,
                     .eta = place.eta,
                     .retry_after = retry_after(place.eta.value_or(kGuess), id.value)}});
  });
  for (std::size_t i = before; i < refused.size(); ++i) {
    sessions_.wait_no_more(refused[i].session, refused[i].id);
    queue_.forget(refused[i].id);
  }
}

std::optional<Place> Dispatcher::place(JobId id, Instant now) const {
  return queue_.find(id) == nullptr ? std::nullopt : queue_.place(id, pace(now));
}

void Dispatcher::for_each_place(Instant now,
                                const std::function<void(JobId, const Place&)>& tell) const {
  queue_.for_each_place(pace(now), [&](const WaitingJob& waiting, const Place& place) {
    tell(waiting.job.id, place);
  });
}

ReplicaStatus Dispatcher::status(ReplicaId id) const {
  const Replica* replica = find(id);
  if (replica == nullptr) return {};
  return {.state = replica->state,
          .in_flight = replica->limiter.in_flight(),
          .limit = replica->limiter.limit(),
          .why = replica->limiter.why(),
          .gpu_base = replica->gpu.base(),
          .gpu_reserved = replica->gpu.reserved(),
          .host_reserved = replica->host.reserved(),
          .memory_known = replica->gpu.pool().known()};
}

}  // namespace gpuward
