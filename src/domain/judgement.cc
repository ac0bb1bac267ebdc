#include "domain/judgement.h"

#include <algorithm>

namespace gpuward {
namespace {

// Of one core, averaged since the last look: what an idle Python server burns is below.
constexpr double kCpuMoves = 0.05;
// Storage that is read for a model moves more; a log line a second does not count.
constexpr std::uint64_t kIoMoves = 256 << 10;
// A look tells of the second before it: only from here on does it speak of what came after.
constexpr auto kLookBack = std::chrono::seconds(2);
// The driver's list is read once a second: the log may have been faster.
constexpr auto kListLag = std::chrono::seconds(1);
constexpr auto kLoneFailures = std::chrono::seconds(10);
constexpr std::uint32_t kManyFailures = 10;
constexpr std::uint32_t kSomeFailures = 3;
constexpr std::uint32_t kCanaries = 2;
constexpr std::uint32_t kFullPercent = 90;
constexpr std::uint32_t kEnoughSamples = 20;
constexpr int kBeyondUsual = 3;

struct Candidate {
  Verdict verdict = Verdict::healthy;
  Action action = Action::none;
  std::uint32_t reasons = 0;
  bool certain = false;  // needs no patience
};

// Which bits come from the same source: two of one row are one witness.
constexpr std::uint32_t kSources[] = {
    because::xid,
    because::context_gone | because::no_gpu_time | because::card_lost,
    because::log_alarm,
    because::failed_answers | because::canary_failed | because::canary_changed,
    because::wanted | because::beyond_usual | because::nothing_in_flight,
    because::no_device_files,
};

std::uint8_t count_witnesses(std::uint32_t reasons) {
  return static_cast<std::uint8_t>(
      std::ranges::count_if(kSources, [&](auto source) { return (reasons & source) != 0; }));
}

// What is not known counts as moving: nothing is concluded from it.
bool sent(const ProgressFacts& before, const ProgressFacts& now) {
  return !before.out_bytes || !now.out_bytes || *now.out_bytes != *before.out_bytes;
}

bool moved(const ProgressFacts& before, const ProgressFacts& now, Duration between) {
  if (!before.cpu_ns || !now.cpu_ns || before.processes != now.processes) return true;
  if (*now.cpu_ns < *before.cpu_ns) return true;  // some have ended
  const double cpu = static_cast<double>(*now.cpu_ns - *before.cpu_ns);
  if (cpu > kCpuMoves * static_cast<double>(std::max<Duration::rep>(between.count(), 1)))
    return true;
  if (!before.io_bytes || !now.io_bytes || *now.io_bytes - *before.io_bytes > kIoMoves) return true;
  return sent(before, now);
}

bool gpu_is_idle(const ServiceFacts& facts) {
  if (facts.sight == CardSight::no_gpu) return true;
  return facts.sight == CardSight::visible && !facts.context.may_be_hidden &&
         !facts.context.use_unexplained && facts.gpu_percent && *facts.gpu_percent == 0;
}

bool is_wanted(const ServiceFacts& facts) {
  return (facts.waiting && *facts.waiting != 0) || (facts.jobs && facts.jobs->in_flight != 0) ||
         (facts.canary && facts.canary->silent_in_a_row >= kCanaries);
}

// Answers that are errors, one after the other, since @p after.
std::uint32_t failing(const ServiceFacts& facts, Instant after) {
  std::uint32_t reasons = 0;
  if (facts.jobs && facts.jobs->failed_in_a_row >= kSomeFailures &&
      facts.jobs->failing_since >= after)
    reasons |= because::failed_answers;
  if (facts.canary && facts.canary->failed_in_a_row >= kCanaries && facts.canary->last >= after)
    reasons |= because::canary_failed;
  return reasons;
}

bool context_is_missing(const ServiceFacts& facts) {
  return facts.sight == CardSight::visible && facts.context.ever && facts.context.listed == 0 &&
         !facts.context.may_be_hidden;
}

void set_while(std::optional<Instant>& since, bool holds, Instant now) {
  if (!holds) since.reset();
  if (holds && !since) since = now;
}

bool for_long(const std::optional<Instant>& since, Duration least, Instant now) {
  return since && now - *since >= least;
}

void begin_anew(const ServiceFacts& facts, VerdictMemory& memory, Instant now) {
  memory = VerdictMemory();
  memory.phase = facts.phase;
  memory.generation = facts.generation;
  memory.moved = memory.busy = memory.sent = memory.seen = memory.progress_at = now;
  memory.progress = facts.progress;
}

void remember(const ServiceFacts& facts, VerdictMemory& memory, Instant now) {
  // Totals need not be read as often as facts come: a look at the log's alarm is one of them.
  const auto between = now - memory.progress_at;
  if (now - memory.seen > kLongestGap) {
    memory.wanted_since.reset();
    memory.gone_since.reset();
    memory.full_since.reset();
    memory.candidate.reset();
    memory.moved = memory.busy = memory.sent = now;
  }
  if (!gpu_is_idle(facts)) memory.busy = memory.moved = now;
  if (sent(memory.progress, facts.progress)) memory.sent = now;
  if (between >= std::chrono::milliseconds(500) || !facts.progress.cpu_ns) {
    if (moved(memory.progress, facts.progress, between)) memory.moved = now;
    memory.progress = facts.progress;
    memory.progress_at = now;
  }
  set_while(memory.wanted_since, is_wanted(facts), now);
  set_while(memory.gone_since, context_is_missing(facts) && !facts.context.use_unexplained, now);
  set_while(memory.full_since,
            facts.jobs && facts.jobs->in_flight == 0 && facts.sight == CardSight::visible &&
                facts.gpu_percent && *facts.gpu_percent >= kFullPercent,
            now);
  memory.seen = now;
}

bool is_poison(const XidFact& xid) {
  // A number that has come to another process since: not its poison.
  if (!xid.poisons || !xid.began || *xid.began > xid.at) return false;
  return !xid.last_busy || *xid.last_busy < xid.at + kLookBack;  // busy is never dead
}

// That CUDA fails, as the service itself told it after @p after: when it last did, and how.
struct Told {
  std::uint32_t reasons = 0;
  Instant at = Instant::min();
};

Told cuda_fails(const ServiceFacts& facts, Instant after) {
  Told told;
  const auto add = [&](Instant at, std::uint32_t reason) {
    if (at < after) return;
    told.reasons |= reason;
    told.at = std::max(told.at, at);
  };
  const auto kind = facts.alarm.kind;
  if (facts.alarm.at && (kind == LogAlarm::cuda_error || kind == LogAlarm::device_assert))
    add(*facts.alarm.at, because::log_alarm);
  if (facts.jobs && facts.jobs->cuda_failed_in_a_row != 0)
    add(facts.jobs->cuda_failing_since, because::failed_answers);
  return told;
}

std::optional<Candidate> lost_card(const ServiceFacts& facts) {
  if (facts.sight != CardSight::lost || !facts.context.ever) return std::nullopt;
  return Candidate{Verdict::gpu_lost, Action::mend_gpu, because::card_lost, false};
}

std::optional<Candidate> ghost_without(const ServiceFacts& facts, const VerdictMemory& memory,
                                       Instant now) {
  if (!context_is_missing(facts)) return std::nullopt;
  Candidate ghost{Verdict::ghost_nocontext, Action::restart, because::context_gone, false};
  if (facts.device_files == Witness::no) ghost.reasons |= because::no_device_files;
  const bool holder_lives = facts.context.lost_alive != 0;
  const Instant about = facts.context.last_listed - kListLag;
  // A worker that failed and has ended may be replaced in a moment by its own parent.
  const bool hit = holder_lives && std::ranges::any_of(facts.xids, is_poison);
  const auto told = cuda_fails(facts, about);
  if (holder_lives && (told.reasons != 0 || hit)) {
    if (!for_long(memory.gone_since, kSecondSight, now)) return std::nullopt;
    ghost.reasons |= told.reasons | failing(facts, about) | (hit ? because::xid : 0);
    // A worker may take its time to end.
    ghost.certain = !facts.context.only_workers_lost;
    return ghost;
  }
  const auto fails = failing(facts, about);
  if (holder_lives && fails != 0 && for_long(memory.gone_since, kHysteresis, now)) {
    ghost.reasons |= fails;
    return ghost;
  }
  const auto patience = holder_lives ? Duration(kStill) : Duration(kStalled);
  if (now - memory.moved < patience || !for_long(memory.gone_since, patience, now) ||
      !for_long(memory.wanted_since, patience, now))
    return std::nullopt;
  ghost.reasons |= because::wanted | because::nothing_moves;
  return ghost;
}

std::optional<Candidate> ghost_by_xid(const ServiceFacts& facts) {
  Candidate ghost{Verdict::ghost_sticky, Action::restart, 0, true};
  for (const auto& xid : facts.xids) {
    if (!is_poison(xid)) continue;
    ghost.reasons |= because::xid | cuda_fails(facts, xid.at - kListLag).reasons |
                     failing(facts, xid.at - kListLag);
  }
  return ghost.reasons != 0 ? std::optional(ghost) : std::nullopt;
}

std::optional<Candidate> ghost_with(const ServiceFacts& facts, const VerdictMemory& memory,
                                    Instant now) {
  if (auto found = ghost_by_xid(facts)) return found;
  if (facts.sight != CardSight::visible || facts.context.listed == 0 || !gpu_is_idle(facts))
    return std::nullopt;
  Candidate ghost{Verdict::ghost_sticky, Action::restart, because::no_gpu_time, false};
  // Younger than every context that is listed: a worker that was replaced has taken its error
  // along.
  const auto told = cuda_fails(facts, facts.context.newest_listed);
  const auto fails = failing(facts, told.at);
  const bool waits = for_long(memory.wanted_since, kStill, now) && now - memory.moved >= kStill;
  if (told.reasons != 0 && memory.busy < told.at + kLookBack && now - memory.busy >= kHysteresis &&
      now - told.at >= kHysteresis && (fails != 0 || waits)) {
    ghost.reasons |= told.reasons | fails;
    if (waits) ghost.reasons |= because::wanted | because::nothing_moves;
    return ghost;
  }
  const bool many = facts.jobs && facts.jobs->failed_in_a_row >= kManyFailures &&
                    now - facts.jobs->failing_since >= kLoneFailures &&
                    memory.busy < facts.jobs->failing_since;
  if (!many) return std::nullopt;
  ghost.reasons |= because::failed_answers;
  return ghost;
}

std::optional<Candidate> stalled(const ServiceFacts& facts, const VerdictMemory& memory,
                                 Instant now) {
  if (!gpu_is_idle(facts) || !memory.wanted_since) return std::nullopt;
  Candidate stall{Verdict::stalled, Action::look_into, because::wanted | because::nothing_moves,
                  false};
  if (facts.sight == CardSight::visible) stall.reasons |= because::no_gpu_time;
  const auto still = now - memory.moved;
  const bool beyond = facts.jobs && facts.jobs->in_flight != 0 &&
                      facts.jobs->samples >= kEnoughSamples &&
                      facts.jobs->oldest > kBeyondUsual * facts.jobs->usual;
  if (beyond && still >= kStill && facts.jobs->oldest >= kStill) {
    stall.reasons |= because::beyond_usual;
    return stall;
  }
  if (still >= kStalled && for_long(memory.wanted_since, kStalled, now)) return stall;
  return std::nullopt;
}

std::optional<Candidate> spinning(const ServiceFacts&, const VerdictMemory& memory, Instant now) {
  if (!for_long(memory.full_since, kSpinning, now) || now - memory.sent < kSpinning)
    return std::nullopt;
  return Candidate{Verdict::spinning, Action::look_into, because::nothing_in_flight, false};
}

Candidate weigh(const ServiceFacts& facts, const VerdictMemory& memory, Instant now) {
  if (auto found = ghost_without(facts, memory, now)) return *found;
  if (auto found = ghost_with(facts, memory, now)) return *found;
  if (auto found = lost_card(facts)) return *found;
  if (facts.canary && facts.canary->changed_in_a_row >= kCanaries)
    return {Verdict::answers_changed, Action::check_answers, because::canary_changed, false};
  if (auto found = stalled(facts, memory, now)) return *found;
  if (auto found = spinning(facts, memory, now)) return *found;
  return {};
}

Action action_on(const ServiceFacts& facts, Action wanted) {
  if (facts.phase != Phase::ready) return wanted;
  const bool blocked = facts.sight == CardSight::mismatch || !facts.restarts_blocked.empty();
  if (blocked && wanted != Action::check_answers) return Action::keep_running;
  const bool card = facts.sight == CardSight::hung || facts.sight == CardSight::lost ||
                    facts.sight == CardSight::cut_off;
  return card && wanted == Action::restart ? Action::mend_gpu : wanted;
}

// What the anchor, or a lease, says for certain; nothing where the facts have to be weighed.
std::optional<Candidate> told(const ServiceFacts& facts) {
  if (facts.phase == Phase::ready || facts.phase == Phase::starting) {
    if (facts.parked) return Candidate{Verdict::parked, Action::none, 0, true};
    if (facts.paused) return Candidate{Verdict::paused, Action::none, 0, true};
  }
  if (facts.phase == Phase::ready) return std::nullopt;
  AnchorState state;
  state.phase = facts.phase;
  Candidate candidate{judge(state), Action::none, 0, true};
  if (candidate.verdict == Verdict::starting && facts.context.ever)
    candidate.verdict = Verdict::loading;
  if (candidate.verdict == Verdict::unkillable) candidate.action = Action::wait_for_kernel;
  if (candidate.verdict == Verdict::failed) candidate.action = Action::look_into;
  return candidate;
}

}  // namespace

Decision decide(const ServiceFacts& facts, VerdictMemory& memory, Instant now) {
  if (!memory.current || memory.phase != facts.phase || memory.generation != facts.generation)
    begin_anew(facts, memory, now);
  remember(facts, memory, now);
  const auto certain = told(facts);
  // After a pause everything may have stood still on purpose.
  if (certain && facts.phase == Phase::ready) {
    const auto kept = memory.current;
    begin_anew(facts, memory, now);
    memory.current = kept;
  }
  const Candidate candidate = certain ? *certain : weigh(facts, memory, now);
  const bool first = !memory.current;
  if (first)
    memory.current =
        Decision{certain ? candidate.verdict : Verdict::healthy, Action::none, 0, 0, facts.since};
  Decision& current = *memory.current;
  const bool same = candidate.verdict == current.verdict;
  if (same || memory.candidate != candidate.verdict) memory.candidate_since = now;
  memory.candidate = candidate.verdict;
  // A lease that ends is as certain as one that begins.
  const bool lease_ended = current.verdict == Verdict::parked || current.verdict == Verdict::paused;
  const bool turns =
      !same &&
      (candidate.certain || lease_ended ||
       (now - memory.candidate_since >= kHysteresis && now - current.since >= kHysteresis));
  if (turns) current = Decision{candidate.verdict, Action::none, 0, 0, now};
  if (same || turns) {
    current.action = action_on(facts, candidate.action);
    current.reasons = candidate.reasons;
    current.witnesses = count_witnesses(candidate.reasons);
  } else {
    // On the turn: what it stood on does not hold any more, or not yet.
    current.action = action_on(facts, Action::watch);
  }
  return current;
}

bool is_fresh(const VerdictMemory& memory, Instant now) {
  return memory.current && now - memory.seen <= kLongestGap;
}

Judgement judge_service(const ServiceFacts& facts, VerdictMemory& memory, Instant now) {
  return explain(facts, decide(facts, memory, now), now);
}

}  // namespace gpuward
