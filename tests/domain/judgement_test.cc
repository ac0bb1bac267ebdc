#include "domain/judgement.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "domain/judged.h"

namespace gpuward {
namespace {

using judged::Ward;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

bool tells(const Judgement& judgement, std::string_view what, std::string_view part) {
  return std::ranges::any_of(judgement.evidence, [&](const Evidence& fact) {
    return fact.what == what && fact.value.find(part) != std::string::npos;
  });
}

// What the anchor says holds at once.

TEST(Judgement, WithoutReadinessItIsWhatItsAnchorSays) {
  const std::pair<Phase, Verdict> rows[] = {
      {Phase::starting, Verdict::starting},     {Phase::ending, Verdict::draining},
      {Phase::settling, Verdict::draining},     {Phase::backing_off, Verdict::backing_off},
      {Phase::stopped, Verdict::stopped},       {Phase::failed, Verdict::failed},
      {Phase::unkillable, Verdict::unkillable},
  };
  for (const auto& [phase, verdict] : rows) {
    Ward ward;
    ward.facts.context = {};
    ward.facts.phase = phase;
    EXPECT_EQ(ward.look().verdict, verdict) << to_string(verdict);
  }
}

TEST(Judgement, AStartThatHasAContextLoads) {
  Ward ward;
  ward.facts.phase = Phase::starting;
  ward.facts.context.ever = false;
  EXPECT_EQ(ward.look().verdict, Verdict::starting);
  ward.facts.context.ever = true;
  EXPECT_EQ(ward.look().verdict, Verdict::loading);
  EXPECT_NE(ward.words().sentence.find("4.0 GiB on the card so far"), std::string::npos);
}

TEST(Judgement, UnkillableIsWaitedForAndNotRestarted) {
  Ward ward;
  ward.facts.phase = Phase::unkillable;
  EXPECT_EQ(ward.look().action, Action::wait_for_kernel);
}

// facts/gpu.md A3.

TEST(Judgement, AContextThatWentWhileItsLogTellsOfCudaIsAGhostAtTheSecondLook) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::cuda_error);
  ward.lose_context();
  ward.now += milliseconds(300);
  EXPECT_EQ(ward.look().verdict, Verdict::healthy);
  ward.now += seconds(1);
  const auto decision = ward.look();
  EXPECT_EQ(decision.verdict, Verdict::ghost_nocontext);
  EXPECT_EQ(decision.action, Action::restart);
  EXPECT_EQ(decision.witnesses, 2);
  const auto words = ward.words();
  EXPECT_EQ(words.sentence, "it lives, but its GPU context has gone: its log told of a CUDA error");
  EXPECT_TRUE(tells(words, "context", "has gone from the driver's list"));
  EXPECT_TRUE(tells(words, "log", "a CUDA error"));
}

// Read access to /proc/PID/io or to the log may be missing: then nobody knows that nothing moves.
TEST(Judgement, WhatCannotBeSeenToStandStillMoves) {
  for (const auto missing : {&ProgressFacts::io_bytes, &ProgressFacts::out_bytes}) {
    Ward ward;
    ward.look(seconds(10));
    ward.lose_context();
    ward.facts.waiting = 1;
    (ward.facts.progress.*missing).reset();
    EXPECT_EQ(ward.look(minutes(5)).verdict, Verdict::healthy);
  }
}

TEST(Judgement, NothingIsDoneOnFactsFromLongAgo) {
  Ward ward;
  EXPECT_FALSE(is_fresh(ward.memory, ward.now));
  ward.look();
  EXPECT_TRUE(is_fresh(ward.memory, ward.now + kLongestGap));
  EXPECT_FALSE(is_fresh(ward.memory, ward.now + kLongestGap + milliseconds(1)));
}

// A worker gives its context back while it ends: seen between, it is no ghost.
TEST(Judgement, AWorkerThatIsAboutToEndIsNoGhost) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::cuda_error);
  ward.strike(31);
  ward.facts.xids.back().began.reset();
  ward.lose_context();
  EXPECT_EQ(ward.look().verdict, Verdict::healthy);
  ward.facts.context.lost_alive = 0;
  EXPECT_EQ(ward.look(minutes(5)).verdict, Verdict::healthy);
}

// It has failed, gives its context back, and takes seconds to end, until its parent replaces it.
TEST(Judgement, AWorkerThatTakesItsTimeToEndIsNoGhost) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::cuda_error);
  ward.lose_context();
  ward.facts.context.only_workers_lost = true;
  EXPECT_EQ(ward.look(seconds(3)).verdict, Verdict::healthy);
  ward.facts.context.lost_alive = 0;
  EXPECT_EQ(ward.look(seconds(30)).verdict, Verdict::healthy);
}

TEST(Judgement, AWorkerThatStaysWithoutItsContextIsAGhost) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::cuda_error);
  ward.lose_context();
  ward.facts.context.only_workers_lost = true;
  EXPECT_EQ(ward.look(seconds(5)).verdict, Verdict::ghost_nocontext);
}

TEST(Judgement, AGhostThatIsAskedAndDoesNothingIsFoundWithPatience) {
  Ward ward;
  ward.look(seconds(10));
  ward.lose_context();
  ward.facts.waiting = 1;
  EXPECT_EQ(ward.look(kStill - seconds(1)).verdict, Verdict::healthy);
  EXPECT_EQ(ward.look(kHysteresis + seconds(2)).verdict, Verdict::ghost_nocontext);
  EXPECT_EQ(ward.look().witnesses, 2);
}

TEST(Judgement, AContextThatAnIdleEngineGaveBackIsEvidenceAndNoGhost) {
  Ward ward;
  ward.look(seconds(10));
  ward.lose_context();
  EXPECT_EQ(ward.look(std::chrono::hours(10)).verdict, Verdict::healthy);
  EXPECT_TRUE(tells(ward.words(), "context", "has gone from the driver's list"));
}

TEST(Judgement, AnEngineThatComesBackToWorkLoadsAndIsNoGhost) {
  Ward ward;
  ward.lose_context(false);
  ward.look(minutes(30));
  ward.facts.waiting = 1;
  for (int second = 0; second < 300; ++second) {  // from slow storage: hardly any CPU time
    *ward.facts.progress.io_bytes += 20 << 20;
    EXPECT_EQ(ward.look(seconds(1)).verdict, Verdict::healthy) << second;
  }
}

TEST(Judgement, AWorkerThatFailedAndEndedIsNoGhostWhileItsParentMayReplaceIt) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::cuda_error);
  ward.strike(31);
  ward.facts.xids.back().began.reset();
  ward.lose_context(false);
  EXPECT_EQ(ward.look(minutes(5)).verdict, Verdict::healthy);
  ward.facts.waiting = 1;  // and nobody has replaced it
  EXPECT_EQ(ward.look(kStalled + kHysteresis + seconds(1)).verdict, Verdict::ghost_nocontext);
}

TEST(Judgement, AnXidWithItsPidPoisonsAtOnce) {
  Ward ward;
  ward.look(seconds(10));
  ward.strike(31);
  const auto decision = ward.look();
  EXPECT_EQ(decision.verdict, Verdict::ghost_sticky);
  EXPECT_EQ(decision.action, Action::restart);
  EXPECT_EQ(decision.witnesses, 1);
  EXPECT_EQ(ward.words().sentence,
            "it lives, but its GPU context is dead, although listed: the kernel told of Xid 31 for "
            "pid 4711");
  ward.tell_of(LogAlarm::cuda_error);
  EXPECT_EQ(ward.look().witnesses, 2);
  EXPECT_EQ(ward.look(std::chrono::hours(5)).verdict, Verdict::ghost_sticky);
}

TEST(Judgement, WhatFollowsOtherXidsPoisonsNothing) {
  Ward ward;
  ward.look(seconds(10));
  ward.strike(43, false);
  ward.strike(45, false);
  EXPECT_EQ(ward.look(minutes(1)).verdict, Verdict::healthy);
}

TEST(Judgement, AnXidOfANumberThatCameToAnotherProcessIsNotIts) {
  Ward ward;
  ward.look(seconds(10));
  ward.strike(31);
  ward.facts.xids.back().began = ward.now + seconds(1);
  EXPECT_EQ(ward.look(minutes(1)).verdict, Verdict::healthy);
}

TEST(Judgement, WhoWorksOnTheGpuAfterItsXidIsNotDead) {
  Ward ward;
  ward.look(seconds(10));
  ward.strike(31);
  EXPECT_EQ(ward.look(seconds(1)).verdict, Verdict::ghost_sticky);
  ward.facts.xids.back().last_busy = ward.now + seconds(5);
  EXPECT_EQ(ward.look().action, Action::watch);
  EXPECT_EQ(ward.look(seconds(2)).verdict, Verdict::ghost_sticky);
  EXPECT_EQ(ward.look(seconds(2)).verdict, Verdict::healthy);
}

TEST(Judgement, ACudaErrorInTheLogAloneIsOneWitnessAndNoVerdict) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::cuda_error);
  EXPECT_EQ(ward.look(minutes(30)).verdict, Verdict::healthy);
  EXPECT_TRUE(tells(ward.words(), "log", "a CUDA error"));
  ward.facts.waiting = 2;
  EXPECT_EQ(ward.look(kStill + kHysteresis + seconds(1)).verdict, Verdict::ghost_sticky);
  EXPECT_EQ(ward.look().witnesses, 3);
}

TEST(Judgement, ACudaErrorOfAWorkerThatWasReplacedIsOld) {
  Ward ward;
  ward.look(seconds(10));
  ward.tell_of(LogAlarm::device_assert);
  ward.look(seconds(1));
  ward.facts.context.newest_listed = ward.now;
  ward.facts.waiting = 2;
  EXPECT_EQ(ward.look(seconds(40)).verdict, Verdict::healthy);
}

TEST(Judgement, OutOfMemoryAndTracebacksPoisonNothing) {
  for (const auto alarm : {LogAlarm::traceback, LogAlarm::out_of_memory}) {
    Ward ward;
    ward.look(seconds(10));
    ward.tell_of(alarm);
    ward.lose_context();
    EXPECT_EQ(ward.look(minutes(1)).verdict, Verdict::healthy);
  }
}

TEST(Judgement, ErrorsOnlyAndNoGpuTimeAreAPoisonedContext) {
  Ward ward;
  ward.look(seconds(20));
  ward.jobs().failed_in_a_row = 12;
  ward.jobs().failing_since = ward.now;
  EXPECT_EQ(ward.look(seconds(8)).verdict, Verdict::healthy);
  EXPECT_EQ(ward.look(seconds(8)).verdict, Verdict::ghost_sticky);
}

TEST(Judgement, ErrorsBesideGpuTimeAreTheServicesOwn) {
  Ward ward;
  ward.look(seconds(20));
  ward.facts.gpu_percent = 30;
  ward.jobs().failed_in_a_row = 12;
  ward.jobs().failing_since = ward.now;
  EXPECT_EQ(ward.look(minutes(10)).verdict, Verdict::healthy);
}

TEST(Judgement, FarBeyondTheUsualWithNothingMovingIsStalled) {
  Ward ward;
  ward.look(seconds(20));
  ward.jobs().in_flight = 1;
  ward.jobs().usual = seconds(8);
  ward.jobs().samples = 100;
  for (int second = 1; second < 26; ++second) {
    ward.jobs().oldest = seconds(second);
    EXPECT_EQ(ward.look(seconds(1)).verdict, Verdict::healthy) << second;
  }
  for (int second = 26; second < 31; ++second) {
    ward.jobs().oldest = seconds(second);
    ward.look(seconds(1));
  }
  EXPECT_EQ(ward.look().verdict, Verdict::stalled);
  EXPECT_EQ(ward.look().action, Action::look_into);
  EXPECT_TRUE(tells(ward.words(), "in flight", "1 job, the oldest for 30"));
}

TEST(Judgement, WithoutAGatewayWaitingForAMinuteWithNothingMovingIsStalled) {
  Ward ward;
  ward.look(seconds(20));
  ward.facts.waiting = 1;
  EXPECT_EQ(ward.look(kStalled - seconds(1)).verdict, Verdict::healthy);
  EXPECT_EQ(ward.look(kHysteresis + seconds(2)).verdict, Verdict::stalled);
}

TEST(Judgement, AServiceWithoutAnyGpuMayStallToo) {
  Ward ward;
  ward.facts.sight = CardSight::no_gpu;
  ward.facts.context = {};
  ward.facts.gpu_percent.reset();
  ward.look(seconds(20));
  ward.facts.waiting = 1;
  EXPECT_EQ(ward.look(kStalled + kHysteresis + seconds(1)).verdict, Verdict::stalled);
}

TEST(Judgement, BusyWithNothingInFlightIsReportedAndNotEnded) {
  Ward ward;
  ward.jobs().in_flight = 0;
  ward.facts.gpu_percent = 100;
  EXPECT_EQ(ward.look(kSpinning - seconds(1)).verdict, Verdict::healthy);
  EXPECT_EQ(ward.look(kHysteresis + seconds(2)).verdict, Verdict::spinning);
  EXPECT_EQ(ward.look().action, Action::look_into);
}

TEST(Judgement, WithoutAGatewayNobodyKnowsThatNothingIsInFlight) {
  Ward ward;
  ward.facts.gpu_percent = 100;
  EXPECT_EQ(ward.look(std::chrono::hours(3)).verdict, Verdict::healthy);
}

TEST(Judgement, ParkedAndPausedAreNoGhosts) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.parked = true;
  ward.lose_context();
  ward.facts.waiting = 3;
  ward.tell_of(LogAlarm::cuda_error);
  EXPECT_EQ(ward.look(minutes(10)).verdict, Verdict::parked);
  ward.facts.parked = false;
  ward.facts.paused = true;
  EXPECT_EQ(ward.look(minutes(10)).verdict, Verdict::paused);
}

TEST(Judgement, AfterAPauseItGetsAllThePatienceAnew) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.paused = true;
  ward.facts.waiting = 1;
  ward.look(minutes(10));
  ward.facts.paused = false;
  EXPECT_EQ(ward.look(kStalled - seconds(1)).verdict, Verdict::healthy);
}

// facts/gpu.md A2.

TEST(Judgement, ACardThatDoesNotAnswerKillsNoService) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.sight = CardSight::hung;
  ward.lose_context();
  ward.facts.gpu_percent.reset();
  ward.facts.waiting = 9;
  ward.tell_of(LogAlarm::cuda_error);
  const auto decision = ward.look(minutes(10));
  EXPECT_EQ(decision.verdict, Verdict::healthy);
  EXPECT_EQ(decision.action, Action::none);
  EXPECT_TRUE(tells(ward.words(), "GPU", "the card does not answer"));
}

TEST(Judgement, ACardThatFellOffTheBusIsMendedBeforeAnythingIsRestarted) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.sight = CardSight::lost;
  ward.facts.sight_detail = "GPU 0 is lost";
  EXPECT_EQ(ward.look(seconds(2)).verdict, Verdict::healthy);
  EXPECT_EQ(ward.look(seconds(2)).verdict, Verdict::gpu_lost);
  EXPECT_EQ(ward.look().action, Action::mend_gpu);
  ward.strike(31);
  EXPECT_EQ(ward.look().action, Action::mend_gpu);
}

TEST(Judgement, UnderAChangedDriverNothingIsRestarted) {
  Ward ward;
  ward.facts.sight = CardSight::mismatch;
  EXPECT_EQ(ward.look(seconds(10)).verdict, Verdict::healthy);
  EXPECT_EQ(ward.look().action, Action::keep_running);
  ward.strike(31);
  EXPECT_EQ(ward.look().verdict, Verdict::ghost_sticky);
  EXPECT_EQ(ward.look().action, Action::keep_running);
}

TEST(Judgement, CannotSeeIsItsOwnAnswerAndNeverAnAlarm) {
  for (const auto sight : {CardSight::unknown, CardSight::foreign_pids, CardSight::hidden,
                           CardSight::hung, CardSight::mismatch}) {
    Ward ward;
    ward.look(seconds(10));
    ward.facts.sight = sight;
    ward.lose_context();
    ward.facts.gpu_percent.reset();
    ward.facts.waiting = 1;
    EXPECT_EQ(ward.look(minutes(20)).verdict, Verdict::healthy);
    EXPECT_TRUE(tells(ward.words(), "GPU", "cannot be")) << static_cast<int>(sight);
  }
}

TEST(Judgement, UnderMpsAMissingRowSaysNothing) {
  Ward ward;
  ward.look(seconds(10));
  ward.lose_context();
  ward.facts.context.may_be_hidden = true;
  ward.facts.waiting = 1;
  ward.tell_of(LogAlarm::cuda_error);
  EXPECT_EQ(ward.look(minutes(10)).verdict, Verdict::healthy);
}

TEST(Judgement, AMissingRowBesideMemoryThatNobodyOwnsSaysNothing) {
  Ward ward;
  ward.look(seconds(10));
  ward.lose_context();
  ward.facts.context.use_unexplained = true;
  ward.facts.waiting = 1;
  EXPECT_EQ(ward.look(minutes(10)).verdict, Verdict::healthy);
}

TEST(Judgement, WhoNeverHadAContextHasLostNone) {
  Ward ward;
  ward.facts.context = {};
  ward.facts.waiting = 1;
  ward.facts.progress.cpu_ns.reset();
  EXPECT_EQ(ward.look(minutes(10)).verdict, Verdict::healthy);
}

// harm.md 6.

TEST(Judgement, BusyIsNeverDead) {
  struct Row {
    const char* what;
    void (*work)(ServiceFacts&, int);
  };
  const Row rows[] = {
      {"GPU", [](ServiceFacts& facts, int) { facts.gpu_percent = 1; }},
      {"CPU", [](ServiceFacts& facts, int) { *facts.progress.cpu_ns += 100'000'000; }},
      {"storage", [](ServiceFacts& facts, int) { *facts.progress.io_bytes += 8 << 20; }},
      {"bytes out", [](ServiceFacts& facts, int) { ++*facts.progress.out_bytes; }},
      {"births", [](ServiceFacts& facts, int n) { facts.progress.processes = 2 + n % 2; }},
  };
  for (const auto& row : rows) {
    Ward ward;
    ward.look(seconds(10));
    ward.facts.waiting = 64;
    ward.facts.canary = CanaryFacts{0, 20, 0, ward.now};
    for (int second = 0; second < 1200; ++second) {
      row.work(ward.facts, second);
      ASSERT_EQ(ward.look(seconds(1)).verdict, Verdict::healthy) << row.what << " " << second;
    }
  }
}

TEST(Judgement, AGapInWhatWasSeenProvesNothing) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.waiting = 1;
  ward.look(seconds(20));
  ward.now += minutes(10);  // the machine slept
  EXPECT_EQ(ward.look().verdict, Verdict::healthy);
  EXPECT_EQ(ward.look(kStalled - seconds(1)).verdict, Verdict::healthy);
}

TEST(Judgement, ANewWardenLosesPatienceAndNothingElse) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.waiting = 1;
  ward.look(kStalled - seconds(1));
  ward.memory = {};
  EXPECT_EQ(ward.look(kStalled - seconds(1)).verdict, Verdict::healthy);
}

TEST(Judgement, ARestartWipesTheSlate) {
  Ward ward;
  ward.look(seconds(10));
  ward.strike(31);
  ASSERT_EQ(ward.look().verdict, Verdict::ghost_sticky);
  ward.facts.xids.clear();
  ward.facts.generation = 2;
  ward.facts.phase = Phase::starting;
  ward.facts.context = {};
  EXPECT_EQ(ward.look().verdict, Verdict::starting);
  ward.facts.phase = Phase::ready;
  EXPECT_EQ(ward.look().verdict, Verdict::healthy);
}

// The golden canary.

TEST(Judgement, AnotherAnswerTwiceInARowIsAVerdictOfItsOwnAndRestartsNothing) {
  Ward ward;
  ward.look(seconds(10));
  ward.facts.canary = CanaryFacts{0, 0, 1, ward.now};
  EXPECT_EQ(ward.look(minutes(1)).verdict, Verdict::healthy);
  ward.facts.canary->changed_in_a_row = 2;
  EXPECT_EQ(ward.look(kHysteresis + seconds(1)).verdict, Verdict::answers_changed);
  EXPECT_EQ(ward.look().action, Action::check_answers);
  EXPECT_TRUE(tells(ward.words(), "canary", "another answer than the known one, 2 in a row"));
  ward.facts.canary->changed_where = "first difference at /a";
  EXPECT_TRUE(tells(ward.words(), "canary",
                    "another answer than the known one, 2 in a row: first difference at /a"));
}

TEST(Judgement, ACanaryThatFailsWithTheContextGoneIsASecondWitness) {
  Ward ward;
  ward.look(seconds(10));
  ward.lose_context();
  ward.look(seconds(1));
  ward.facts.canary = CanaryFacts{2, 0, 0, ward.now};
  EXPECT_EQ(ward.look(kHysteresis * 2 + seconds(1)).verdict, Verdict::ghost_nocontext);
}

TEST(Judgement, FailuresFromBeforeTheContextWentSayNothingOfIt) {
  Ward ward;
  ward.jobs().failed_in_a_row = 4;
  ward.jobs().failing_since = ward.now;
  ward.look(minutes(10));
  ward.lose_context();
  EXPECT_EQ(ward.look(std::chrono::hours(1)).verdict, Verdict::healthy);
}

TEST(Action, EachHasANameAndOnlyNoneHasNoWords) {
  for (int number = 0; number <= static_cast<int>(Action::wait_for_kernel); ++number) {
    const auto action = static_cast<Action>(number);
    EXPECT_NE(to_string(action), "unknown");
    EXPECT_EQ(describe(action).empty(), action == Action::none);
  }
}

}  // namespace
}  // namespace gpuward
