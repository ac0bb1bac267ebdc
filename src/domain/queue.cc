#include "domain/queue.h"

#include <algorithm>
#include <cassert>
#include <limits>

namespace gpuward {
namespace {

constexpr std::uint8_t kDoubtful = 1;
constexpr std::uint64_t kLastSeq = std::numeric_limits<std::uint64_t>::max();

constexpr std::size_t index(JobClass of) {
  return static_cast<std::size_t>(of);
}
constexpr std::uint8_t level_of(JobClass of) {
  return static_cast<std::uint8_t>(2 * index(of));
}
constexpr std::uint8_t kInteractive = level_of(JobClass::interactive);
constexpr std::uint8_t kBatch = level_of(JobClass::batch);

const WaitingJob* as_job(const WaitNode* node) {
  return static_cast<const WaitingJob*>(node);
}

bool is_before(const WaitNode& a, const WaitNode& b) {
  return a.key != b.key ? a.key < b.key : a.seq < b.seq;
}

}  // namespace

const std::array<std::uint8_t, JobQueue::kLevels>& JobQueue::level_order(bool emergencies_first) {
  static constexpr std::array<std::uint8_t, kLevels> kFirst{0, 1, 2, 3, 4, 5};
  static constexpr std::array<std::uint8_t, kLevels> kSecond{2, 3, 0, 1, 4, 5};
  return emergencies_first ? kFirst : kSecond;
}

std::expected<void, Refusal> JobQueue::arrive(const Job& job, std::uint32_t lane,
                                              const ServiceTimes& times, const Pace& pace,
                                              Instant now, std::vector<RefusedJob>& displaced) {
  const auto caller = callers_.find(job.caller);
  const std::uint32_t own = caller == callers_.end() ? 0 : caller->second.jobs;
  if (settings_.most_per_caller > 0 && own >= settings_.most_per_caller)
    return std::unexpected(Refusal{
        .reason = RefusalReason::over_quota,
        .waiting = own,
        .limit = settings_.most_per_caller,
        .retry_after = retry_after(eta({.jobs = own}, pace).value_or(Duration{}), job.id.value)});
  const Instant key = key_for(job);
  if (auto known = in_time(job, key, times, pace, now); !known) return known;
  if (auto room = make_room(job, key, pace, displaced); !room) return room;
  enter({.job = job, .key = key, .seq = next_seq_++}, lane, times, now);
  return {};
}

// A caller's next job stands behind its last one: with equal deadlines this goes round the callers.
Instant JobQueue::key_for(const Job& job) const {
  const std::size_t of = index(job.job_class);
  const auto usual = settings_.classes[of].deadline;
  const Instant key = job.deadline.value_or(job.arrived + usual);
  const auto caller = job.caller == 0 ? callers_.end() : callers_.find(job.caller);
  if (caller == callers_.end() || caller->second.of_class[of] == 0) return key;
  return std::max(key, caller->second.last_key[of] + usual / settings_.fair_share);
}

std::expected<void, Refusal> JobQueue::in_time(const Job& job, Instant key,
                                               const ServiceTimes& times, const Pace& pace,
                                               Instant now) const {
  if (!job.deadline) return {};
  const auto takes = times.find(job.route, job.size);
  const Duration left = *job.deadline - now;
  Refusal refusal{.left = left};
  if (takes) refusal.service = takes->usual;
  if (left < Duration{}) {
    refusal.reason = RefusalReason::too_late;
    return std::unexpected(refusal);
  }
  if (!takes) return {};
  // Jobs of unknown duration may be short: what is certain is the work of the others.
  const WaitSum before = ahead(level_of(job.job_class), key, kLastSeq);
  const Duration wait = eta({.jobs = before.jobs, .work = before.work}, pace).value_or(Duration{});
  if (wait + takes->floor <= left) return {};
  refusal.reason = RefusalReason::cannot_finish;
  refusal.eta = wait;
  refusal.retry_after = retry_after(wait, job.id.value);
  return std::unexpected(refusal);
}

bool JobQueue::is_full(JobClass of, std::uint64_t jobs, Bytes bytes) const {
  const auto& most = settings_.classes[index(of)];
  return jobs > most.most_jobs || bytes > most.most_bytes;
}

std::expected<void, Refusal> JobQueue::make_room(const Job& job, Instant key, const Pace& pace,
                                                 std::vector<RefusedJob>& displaced) {
  const std::size_t of = index(job.job_class);
  const auto& most = settings_.classes[of];
  std::vector<const WaitingJob*> victims;
  if (!choose_victims(job, key, victims)) {
    const bool by_count = jobs_[of] >= most.most_jobs;
    return std::unexpected(
        Refusal{.reason = by_count ? RefusalReason::queue_full : RefusalReason::queue_bytes_full,
                .waiting = by_count ? jobs_[of] : bytes_[of].count,
                .limit = by_count ? most.most_jobs : most.most_bytes.count,
                .retry_after =
                    job.held > most.most_bytes
                        ? std::chrono::seconds(0)
                        : retry_after(eta(everybody(), pace).value_or(Duration{}), job.id.value)});
  }
  for (const WaitingJob* victim : victims) {
    const JobId id = victim->job.id;
    const Duration wait = eta(everybody(), pace).value_or(Duration{});
    displaced.push_back({.id = id,
                         .session = victim->job.session,
                         .refusal = {.reason = RefusalReason::displaced,
                                     .waiting = jobs_[of],
                                     .limit = most.most_jobs,
                                     .retry_after = retry_after(wait, id.value)}});
    leave(own(*victim));
  }
  return {};
}

// The last of its class have to go, doubtful ones first; those that aged into another level stay.
// False: they are all more urgent, or it would not be enough.
bool JobQueue::choose_victims(const Job& job, Instant key,
                              std::vector<const WaitingJob*>& victims) const {
  std::uint64_t jobs = size(job.job_class) + 1;
  Bytes bytes = this->bytes(job.job_class) + job.held;
  if (!is_full(job.job_class, jobs, bytes)) return true;
  if (job.held > settings_.classes[index(job.job_class)].most_bytes) return false;
  const std::uint8_t level = level_of(job.job_class);
  for (const auto at : {static_cast<std::uint8_t>(level | kDoubtful), level}) {
    std::vector<const WaitNode*> last;
    for (const Lane& lane : lanes_)
      if (const WaitNode* node = lane[at].last()) last.push_back(node);
    while (!last.empty()) {
      auto worst = std::ranges::max_element(
          last, [](const WaitNode* a, const WaitNode* b) { return is_before(*a, *b); });
      const WaitingJob* candidate = as_job(*worst);
      if (at == level && candidate->key <= key) return false;
      if (const WaitNode* before = WaitTree::previous(*candidate)) {
        *worst = before;
      } else {
        last.erase(worst);
      }
      if (candidate->job.job_class != job.job_class) continue;
      victims.push_back(candidate);
      --jobs;
      bytes = bytes - candidate->job.held;
      if (!is_full(job.job_class, jobs, bytes)) return true;
    }
  }
  return false;
}

void JobQueue::come_back(const Ticket& ticket, std::uint32_t lane, const ServiceTimes& times,
                         Instant now) {
  enter(ticket, lane, times, now);
}

void JobQueue::have_lane(std::uint32_t lane) {
  if (lane >= lanes_.size()) lanes_.resize(lane + 1);
}

void JobQueue::enter(const Ticket& ticket, std::uint32_t lane, const ServiceTimes& times,
                     Instant now) {
  have_lane(lane);
  const Job& job = ticket.job;
  auto made = std::make_unique<WaitingJob>();
  WaitingJob& waiting = *made;
  const bool is_new = waiting_.try_emplace(job.id.value, std::move(made)).second;
  assert(is_new && "a job's id is used once");
  if (!is_new) return;
  waiting.key = ticket.key;
  waiting.seq = ticket.seq;
  waiting.job = job;
  waiting.lane = lane;
  waiting.level = level_of(job.job_class);
  if (waiting.level == kBatch && now >= job.arrived + settings_.age_after)
    waiting.level = kInteractive;
  const auto takes = times.find(job.route, job.size);
  waiting.unknown = !takes;
  if (takes) waiting.work = takes->usual;
  tree_of(waiting).insert(waiting);
  waiting.due = Instant::max();
  set_timer(waiting, times);
  const std::size_t of = index(job.job_class);
  ++jobs_[of];
  bytes_[of] += job.held;
  if (job.caller == 0) return;
  Caller& caller = callers_[job.caller];
  ++caller.jobs;
  caller.last_key[of] =
      ++caller.of_class[of] == 1 ? ticket.key : std::max(caller.last_key[of], ticket.key);
}

void JobQueue::leave(WaitingJob& waiting) {
  tree_of(waiting).erase(waiting);
  if (waiting.due != Instant::max()) timers_.erase({waiting.due, waiting.job.id.value});
  const Job& job = waiting.job;
  const std::size_t of = index(job.job_class);
  --jobs_[of];
  bytes_[of] = bytes_[of] - job.held;
  if (const auto caller = callers_.find(job.caller); caller != callers_.end()) {
    --caller->second.of_class[of];
    if (--caller->second.jobs == 0) callers_.erase(caller);
  }
  waiting_.erase(job.id.value);
}

// Rings when it ages, and just after the last moment at which it can start.
void JobQueue::set_timer(WaitingJob& waiting, const ServiceTimes& times) {
  if (waiting.due != Instant::max()) timers_.erase({waiting.due, waiting.job.id.value});
  waiting.due = Instant::max();
  const Job& job = waiting.job;
  if (job.deadline) {
    const auto takes = times.find(job.route, job.size);
    waiting.due = *job.deadline - (takes ? takes->floor : Duration{}) + Duration{1};
  }
  if (waiting.level >= kBatch)
    waiting.due = std::min(waiting.due, job.arrived + settings_.age_after);
  if (waiting.due != Instant::max()) timers_.insert({waiting.due, job.id.value});
}

Instant JobQueue::next_due() const {
  return timers_.empty() ? Instant::max() : timers_.begin()->first;
}

void JobQueue::set_level(WaitingJob& waiting, std::uint8_t level) {
  tree_of(waiting).erase(waiting);
  waiting.level = level;
  tree_of(waiting).insert(waiting);
}

void JobQueue::pass_time(Instant now, const ServiceTimes& times, std::vector<RefusedJob>& refused) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    WaitingJob& waiting = *waiting_.at(timers_.begin()->second);
    const Job& job = waiting.job;
    if (waiting.level >= kBatch && now >= job.arrived + settings_.age_after)
      set_level(waiting, static_cast<std::uint8_t>(kInteractive + (waiting.level & kDoubtful)));
    const auto takes = times.find(job.route, job.size);
    if (job.deadline && now + (takes ? takes->floor : Duration{}) > *job.deadline) {
      refused.push_back(
          {.id = job.id, .session = job.session, .refusal = too_late(waiting, times, now)});
      leave(waiting);
      continue;
    }
    set_timer(waiting, times);
  }
}

Refusal JobQueue::too_late(const WaitingJob& waiting, const ServiceTimes& times,
                           Instant now) const {
  const Job& job = waiting.job;
  Refusal refusal{.reason = RefusalReason::too_late};
  if (const auto takes = times.find(job.route, job.size)) refusal.service = takes->usual;
  if (job.deadline) refusal.left = *job.deadline - now;
  refusal.waiting = waiting_.size();
  return refusal;
}

bool JobQueue::forget(JobId id) {
  const auto at = waiting_.find(id.value);
  if (at == waiting_.end()) return false;
  leave(*at->second);
  return true;
}

WaitingJob& JobQueue::own(const WaitingJob& waiting) {
  return *waiting_.at(waiting.job.id.value);
}

Ticket JobQueue::take(const WaitingJob& waiting) {
  const Ticket ticket{.job = waiting.job, .key = waiting.key, .seq = waiting.seq};
  leave(own(waiting));
  return ticket;
}

void JobQueue::doubt(const WaitingJob& waiting) {
  set_level(own(waiting), waiting.level | kDoubtful);
}

void JobQueue::move(JobId id, std::uint32_t lane) {
  const auto at = waiting_.find(id.value);
  if (at == waiting_.end()) return;
  have_lane(lane);
  WaitingJob& waiting = *at->second;
  tree_of(waiting).erase(waiting);
  waiting.lane = lane;
  tree_of(waiting).insert(waiting);
}

void JobQueue::note_blocked(const WaitingJob& waiting, Instant now) {
  if (!waiting.blocked) own(waiting).blocked = now;
}

const WaitingJob* JobQueue::find(JobId id) const {
  const auto at = waiting_.find(id.value);
  return at == waiting_.end() ? nullptr : at->second.get();
}

const WaitingJob* JobQueue::first(std::size_t level, std::uint32_t lane) const {
  return lane < lanes_.size() ? as_job(lanes_[lane][level].first()) : nullptr;
}

const WaitingJob* JobQueue::next(const WaitingJob& waiting) {
  return as_job(WaitTree::next(waiting));
}

WaitSum JobQueue::ahead(std::size_t level, Instant key, std::uint64_t seq) const {
  WaitSum all;
  for (const Lane& lane : lanes_) {
    for (std::size_t above = 0; above < level; ++above) all += lane[above].total();
    all += lane[level].before(key, seq);
  }
  return all;
}

WaitSum JobQueue::everybody() const {
  return ahead(kLevels - 1, Instant::max(), kLastSeq);
}

std::optional<Duration> JobQueue::eta(const WaitSum& ahead, const Pace& pace) {
  if (ahead.jobs < pace.free) return Duration{};
  if (ahead.unknown > 0 && !pace.usual) return std::nullopt;
  const double unknown = static_cast<double>(ahead.unknown) *
                         std::chrono::duration<double>(pace.usual.value_or(Duration{})).count();
  const double known = std::chrono::duration<double>(ahead.work + pace.in_flight).count();
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>((known + unknown) / pace.at_once));
}

std::optional<Place> JobQueue::place(JobId id, const Pace& pace) const {
  const WaitingJob* waiting = find(id);
  if (waiting == nullptr) return std::nullopt;
  const WaitSum before = ahead(waiting->level, waiting->key, waiting->seq);
  return Place{.rank = before.jobs, .eta = eta(before, pace)};
}

void JobQueue::for_each_place(
    const Pace& pace, const std::function<void(const WaitingJob&, const Place&)>& tell) const {
  WaitSum before;
  for (std::size_t level = 0; level < kLevels; ++level) {
    std::vector<const WaitNode*> heads;
    for (const Lane& lane : lanes_)
      if (const WaitNode* node = lane[level].first()) heads.push_back(node);
    while (!heads.empty()) {
      const auto first = std::ranges::min_element(
          heads, [](const WaitNode* a, const WaitNode* b) { return is_before(*a, *b); });
      const WaitNode& node = **first;
      tell(*as_job(&node), {.rank = before.jobs, .eta = eta(before, pace)});
      before += {.jobs = 1, .unknown = node.unknown ? 1U : 0U, .work = node.work};
      if (const WaitNode* next = WaitTree::next(node)) {
        *first = next;
      } else {
        heads.erase(first);
      }
    }
  }
}

}  // namespace gpuward
