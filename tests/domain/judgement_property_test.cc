#include <algorithm>
#include <gtest/gtest.h>
#include <random>

#include "domain/judged.h"
#include "domain/judgement.h"

// Whatever the facts, in whatever order: what must hold of every verdict.

namespace gpuward {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kWalks = 200;
constexpr int kSteps = 1500;

/// Facts that change a little from step to step, as those of a machine in trouble do.
class Walk {
 public:
  explicit Walk(std::uint32_t seed) : random_(seed) {}

  ServiceFacts facts = judged::idle_engine();
  VerdictMemory memory;
  Instant now = judged::kBegin;

  void step() {
    now += one_in(400) ? Duration(std::chrono::minutes(below(20))) : milliseconds(below(1500));
    if (one_in(2)) *facts.progress.cpu_ns += below(3) == 0 ? 900'000'000 : 1'000'000;
    switch (below(24)) {
      case 0:
        return change_phase();
      case 1:
        facts.paused = one_in(8);
        return;
      case 2:
        facts.parked = one_in(8);
        return;
      case 3:
        facts.sight = one_in(2) ? CardSight::visible : static_cast<CardSight>(below(9));
        return;
      case 4:
        return change_contexts();
      case 5:
        facts.context.may_be_hidden = one_in(6);
        return;
      case 6:
        facts.context.use_unexplained = one_in(6);
        return;
      case 7:
        facts.device_files = static_cast<Witness>(below(3));
        return;
      case 8:
        facts.gpu_percent = one_in(4) ? std::nullopt : std::optional(one_in(2) ? 0U : below(101));
        return;
      case 9:
        return strike();
      case 10:
        facts.alarm = {static_cast<LogAlarm>(below(5)),
                       one_in(4) ? std::nullopt : std::optional(now)};
        return;
      case 11:
        return change_jobs();
      case 12:
        facts.waiting = one_in(4) ? std::nullopt : std::optional(below(3));
        return;
      case 13:
        facts.canary = CanaryFacts{below(4), below(4), below(4), now};
        return;
      case 14:
        ++*facts.progress.out_bytes;
        return;
      case 15:
        *facts.progress.io_bytes += below(1 << 24);
        return;
      case 16:
        if (facts.context.listed != 0) facts.context.last_listed = now;
        return;
      default:
        return;
    }
  }

 private:
  std::uint32_t below(std::uint32_t end) {
    return std::uniform_int_distribution<std::uint32_t>(0, end - 1)(random_);
  }
  bool one_in(std::uint32_t n) { return below(n) == 0; }

  void change_phase() {
    if (!one_in(6))
      facts.phase = Phase::ready;
    else
      facts.phase = static_cast<Phase>(below(9));
    if (one_in(10)) ++facts.generation, facts.xids.clear();
    facts.since = now;
  }
  void change_contexts() {
    facts.context.listed = one_in(2) ? below(3) : facts.context.listed;
    facts.context.lost_alive = below(3);
    facts.context.ever = facts.context.ever || facts.context.listed != 0;
    if (facts.context.listed != 0) facts.context.last_listed = now;
    if (one_in(3)) facts.context.newest_listed = now;
  }
  void strike() {
    if (facts.xids.size() > 4) facts.xids.clear();
    XidFact xid;
    xid.number = below(160);
    xid.pid = Pid{4711};
    xid.at = now;
    xid.poisons = one_in(3);
    if (!one_in(3)) xid.began = now + seconds(below(3)) - seconds(1);
    if (one_in(3)) xid.last_busy = now + seconds(below(4));
    facts.xids.push_back(xid);
  }
  void change_jobs() {
    facts.jobs = JobFacts{};
    facts.jobs->in_flight = below(3);
    facts.jobs->oldest = seconds(below(200));
    facts.jobs->usual = seconds(below(20));
    facts.jobs->samples = below(40);
    facts.jobs->failed_in_a_row = below(14);
    facts.jobs->failing_since = now - seconds(below(30));
    facts.jobs->cuda_failed_in_a_row = below(2);
    facts.jobs->cuda_failing_since = now - seconds(below(30));
  }

  std::mt19937 random_;
};

bool a_process_of_it_is_poisoned(const ServiceFacts& facts) {
  return std::ranges::any_of(facts.xids, [](const XidFact& xid) {
    return xid.poisons && xid.began && *xid.began <= xid.at &&
           !(xid.last_busy && *xid.last_busy >= xid.at + seconds(2));
  });
}

bool is_lifecycle(Verdict verdict) {
  return !is_sick(verdict) || verdict == Verdict::failed || verdict == Verdict::unkillable;
}

template <class Check>
void walk_all(Check&& check) {
  for (std::uint32_t seed = 1; seed <= kWalks; ++seed) {
    Walk walk(seed);
    for (int step = 0; step < kSteps; ++step) {
      walk.step();
      const auto decision = decide(walk.facts, walk.memory, walk.now);
      check(walk, decision);
      if (testing::Test::HasFailure()) FAIL() << "seed " << seed << ", step " << step;
    }
  }
}

TEST(JudgementProperty, TheWalksMeetEveryVerdictThatTheirStepsCanReach) {
  std::set<Verdict> met;
  walk_all([&](const Walk&, const Decision& decision) { met.insert(decision.verdict); });
  for (const auto verdict : {Verdict::healthy, Verdict::loading, Verdict::paused, Verdict::parked,
                             Verdict::ghost_nocontext, Verdict::ghost_sticky, Verdict::gpu_lost,
                             Verdict::answers_changed})
    EXPECT_TRUE(met.contains(verdict)) << to_string(verdict);
}

TEST(JudgementProperty, NeverFlapsFasterThanItsHysteresis) {
  struct Last {
    std::uint32_t generation = 0;
    Phase phase = Phase::idle;
    bool lease = false;
    Decision decision;
  } last;
  Instant before = judged::kBegin;
  walk_all([&](const Walk& walk, const Decision& decision) {
    if (walk.now < before) last = {};  // another walk
    before = walk.now;
    const bool lease = walk.facts.paused || walk.facts.parked;
    const bool same_life = last.generation == walk.facts.generation &&
                           last.phase == walk.facts.phase && last.lease == lease;
    const bool ghost =
        decision.verdict == Verdict::ghost_nocontext || decision.verdict == Verdict::ghost_sticky;
    const bool changed = same_life && decision.verdict != last.decision.verdict;
    if (changed && walk.facts.phase == Phase::ready && !lease && !ghost) {
      EXPECT_GE(walk.now - last.decision.since, kHysteresis)
          << to_string(last.decision.verdict) << " to " << to_string(decision.verdict);
    }
    if (changed && ghost && walk.now - last.decision.since < kHysteresis) {
      const bool certain =
          (decision.reasons & (because::xid | because::log_alarm | because::failed_answers)) != 0;
      EXPECT_TRUE(certain) << to_string(decision.verdict);
    }
    last = {walk.facts.generation, walk.facts.phase, lease, decision};
  });
}

TEST(JudgementProperty, RecommendsToEndOnlyWhatItsOwnFactsSpeakAgainst) {
  walk_all([](const Walk& walk, const Decision& decision) {
    if (decision.action != Action::restart) return;
    EXPECT_TRUE(decision.verdict == Verdict::ghost_nocontext ||
                decision.verdict == Verdict::ghost_sticky);
    EXPECT_EQ(walk.facts.phase, Phase::ready);  // never a start-up worker
    EXPECT_FALSE(walk.facts.paused || walk.facts.parked);
    EXPECT_GE(decision.witnesses, 1);
    const auto sight = walk.facts.sight;
    EXPECT_TRUE(sight == CardSight::visible || a_process_of_it_is_poisoned(walk.facts));
    EXPECT_NE(sight, CardSight::mismatch);
    EXPECT_NE(sight, CardSight::hung);
    EXPECT_NE(sight, CardSight::lost);
  });
}

TEST(JudgementProperty, BusyIsNeverDead) {
  walk_all([](const Walk& walk, const Decision& decision) {
    const auto& facts = walk.facts;
    const bool busy = facts.sight == CardSight::visible && facts.context.listed != 0 &&
                      facts.gpu_percent.value_or(0) != 0;
    if (busy && !a_process_of_it_is_poisoned(facts)) {
      EXPECT_NE(decision.action, Action::restart);
      EXPECT_FALSE(decision.verdict == Verdict::stalled && decision.action == Action::look_into);
    }
  });
}

TEST(JudgementProperty, CannotSeeIsNeverAnAlarm) {
  Instant blind_since = Instant::max();
  Instant before = judged::kBegin;
  walk_all([&](const Walk& walk, const Decision& decision) {
    const auto& facts = walk.facts;
    const bool blind = facts.sight != CardSight::visible && facts.sight != CardSight::no_gpu &&
                       facts.sight != CardSight::lost && !a_process_of_it_is_poisoned(facts) &&
                       facts.canary.value_or(CanaryFacts{}).changed_in_a_row < 2;
    if (!blind || walk.now < before) blind_since = Instant::max();
    before = walk.now;
    if (!blind) return;
    blind_since = std::min(blind_since, walk.now);
    EXPECT_NE(decision.action, Action::restart);
    // A gap may stretch the patience by the step after it.
    if (walk.now - blind_since > std::chrono::minutes(25)) {
      EXPECT_TRUE(is_lifecycle(decision.verdict)) << to_string(decision.verdict);
    }
  });
}

TEST(JudgementProperty, EveryDecisionHasWordsAndTheSickOnesEvidence) {
  walk_all([](const Walk& walk, const Decision& decision) {
    const auto judgement = explain(walk.facts, decision, walk.now);
    EXPECT_NE(to_string(decision.verdict), "UNKNOWN");
    if (is_lifecycle(decision.verdict)) return;
    EXPECT_FALSE(judgement.sentence.empty());
    for (const auto& fact : judgement.evidence) {
      EXPECT_FALSE(fact.what.empty() || fact.value.empty());
      EXPECT_GE(fact.age_seconds, 0);
    }
  });
}

}  // namespace
}  // namespace gpuward
