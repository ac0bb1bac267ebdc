#include "domain/lifecycle.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <set>
#include <string>
#include <vector>

#include "domain/lives.h"

namespace gpuward {
namespace {

using namespace life;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

// A life with its clock, so that a journey reads as what happens when.
struct Journey {
  explicit Journey(LifePolicy its_policy) : policy(its_policy) {}

  LifeActions then(const Event& event, Duration later = 0ms) {
    now += later;
    return step(life, event, policy, now);
  }
  /// Waits for the deadline that the life asks for.
  LifeActions wait() {
    now = deadline(life);
    return step(life, Tick{}, policy, now);
  }
  void become_ready() {
    then(Begin{});
    then(ProbePassed{}, 1s);
  }
  /// From main's end to what follows it.
  LifeActions end(const ExitStatus& status) {
    then(MainEnded{status}, 1s);
    then(TreeEmpty{}, 1ms);
    return then(MemorySeen{MemoryProof::none}, 1ms);
  }

  LifePolicy policy;
  Life life;
  Instant now = kStart;
};

TEST(Life, StartsBecomesReadyAndStops) {
  Journey journey(policy_of(RestartPolicy::on_failure));
  auto actions = journey.then(Begin{});
  EXPECT_TRUE(has(actions, Action::spawn));
  EXPECT_TRUE(has(actions, Action::probe));
  EXPECT_EQ(deadline(journey.life), journey.now + 60s);
  journey.then(ProbePassed{}, 3s);
  EXPECT_TRUE(is<Ready>(journey.life));
  actions = journey.then(StopAsked{10s}, 1h);
  EXPECT_TRUE(has(actions, Action::term_tree));
  EXPECT_EQ(deadline(journey.life), journey.now + 10s);
  journey.then(MainEnded{{.signaled = true, .value = SIGTERM}}, 20ms);
  EXPECT_TRUE(is<Ending>(journey.life)) << "main has ended, its children need not have";
  journey.then(TreeEmpty{}, 20ms);
  actions = journey.then(MemorySeen{MemoryProof::returned}, 20ms);
  ASSERT_EQ(actions.size(), 2U);
  EXPECT_EQ(actions[0], Action::write_receipt) << "the proof is written before the anchor may exit";
  EXPECT_EQ(actions[1], Action::finish);
  ASSERT_TRUE(is<Over>(journey.life));
  EXPECT_FALSE(std::get<Over>(journey.life.state).failed);
  EXPECT_EQ(journey.life.generation, 1U);
  EXPECT_TRUE(journey.life.reason.empty());
}

TEST(Life, StopEscalatesToKillAfterGraceAndSaysUnkillable) {
  Journey journey(policy_of(RestartPolicy::never));
  journey.become_ready();
  journey.then(StopAsked{10s});
  auto actions = journey.wait();
  EXPECT_EQ(journey.now, kStart + 1s + 10s);
  EXPECT_TRUE(has(actions, Action::kill_tree));
  EXPECT_FALSE(has(actions, Action::write_receipt));
  actions = journey.wait();
  EXPECT_TRUE(has(actions, Action::write_receipt));
  EXPECT_TRUE(has(actions, Action::kill_tree));
  EXPECT_EQ(std::get<Ending>(journey.life.state).stage, Stage::unkillable);
  actions = journey.wait();
  EXPECT_FALSE(has(actions, Action::write_receipt)) << "said once";
  EXPECT_TRUE(has(actions, Action::kill_tree)) << "tried for ever";
  journey.then(TreeEmpty{}, 1h);
  ASSERT_TRUE(is<Settling>(journey.life));
  EXPECT_TRUE(std::get<Settling>(journey.life.state).forced);
  actions = journey.then(MemorySeen{MemoryProof::returned});
  EXPECT_TRUE(has(actions, Action::write_receipt)) << "the good end replaces the bad news";
  EXPECT_FALSE(std::get<Over>(journey.life.state).failed);
}

TEST(Life, StopWithoutGraceKillsAtOnce) {
  Journey journey(policy_of(RestartPolicy::never));
  journey.become_ready();
  const auto actions = journey.then(StopAsked{0ms});
  EXPECT_TRUE(has(actions, Action::kill_tree));
  EXPECT_FALSE(has(actions, Action::term_tree));
  EXPECT_TRUE(std::get<Ending>(journey.life.state).forced);
}

TEST(Life, ASecondStopMayOnlyShortenTheGrace) {
  Journey journey(policy_of(RestartPolicy::never));
  journey.become_ready();
  journey.then(StopAsked{10s});
  const auto first = deadline(journey.life);
  EXPECT_TRUE(journey.then(StopAsked{60s}, 1s).empty());
  EXPECT_EQ(deadline(journey.life), first);
  journey.then(StopAsked{2s}, 1s);
  EXPECT_EQ(deadline(journey.life), journey.now + 2s);
  EXPECT_TRUE(has(journey.then(StopAsked{0ms}, 1s), Action::kill_tree));
  EXPECT_EQ(std::get<Ending>(journey.life.state).stage, Stage::kill);
  EXPECT_TRUE(journey.then(StopAsked{0ms}, 1s).empty()) << "killing has begun";
}

TEST(Life, AGraceTooLongForTheClockIsLongNotPast) {
  for (const auto grace : {milliseconds::max(), milliseconds(1LL << 62)}) {
    Journey journey(policy_of(RestartPolicy::never));
    journey.become_ready();
    EXPECT_TRUE(has(journey.then(StopAsked{grace}), Action::term_tree));
    EXPECT_GT(deadline(journey.life), journey.now + 24h);
    EXPECT_TRUE(journey.then(StopAsked{grace}, 1s).empty());
    EXPECT_TRUE(has(journey.then(StopAsked{milliseconds::min()}, 1s), Action::kill_tree));
  }
}

TEST(Life, AStopDuringACrashCancelsTheRestart) {
  Journey journey(policy_of(RestartPolicy::always));
  journey.become_ready();
  journey.then(MainEnded{kCode3});
  journey.then(StopAsked{10s});
  journey.then(TreeEmpty{});
  const auto actions = journey.then(MemorySeen{});
  EXPECT_TRUE(has(actions, Action::finish));
  EXPECT_FALSE(std::get<Over>(journey.life.state).failed);
}

TEST(Life, RestartWaitsForAnEmptyTreeAndForTheMemory) {
  Journey journey(policy_of(RestartPolicy::never));
  journey.become_ready();
  EXPECT_TRUE(has(journey.then(RestartAsked{10s}), Action::term_tree));
  EXPECT_TRUE(journey.then(MainEnded{kCode0}, 1s).empty());
  EXPECT_TRUE(journey.then(MemorySeen{MemoryProof::none}).empty())
      << "an answer from before the end";
  EXPECT_FALSE(has(journey.then(TreeEmpty{}, 1s), Action::spawn));
  EXPECT_TRUE(is<Settling>(journey.life));
  const auto actions = journey.then(MemorySeen{MemoryProof::returned}, 1s);
  EXPECT_TRUE(has(actions, Action::spawn));
  EXPECT_EQ(journey.life.generation, 2U);
  EXPECT_EQ(journey.life.failures, 0U);
}

TEST(Life, RestartGoesOnWhenNobodySeesTheMemory) {
  Journey journey(policy_of(RestartPolicy::never));
  journey.become_ready();
  journey.then(RestartAsked{10s});
  journey.then(TreeEmpty{}, 1s);
  const auto emptied = journey.now;
  EXPECT_TRUE(has(journey.wait(), Action::spawn));
  EXPECT_EQ(journey.now, emptied + kMemoryWithin);
}

TEST(Life, RestartDuringBackOffStartsAtOnceAndForgetsFailures) {
  Journey journey(policy_of(RestartPolicy::on_failure));
  journey.become_ready();
  journey.end(kCode3);
  ASSERT_TRUE(is<BackingOff>(journey.life));
  EXPECT_TRUE(has(journey.then(RestartAsked{10s}), Action::spawn));
  EXPECT_EQ(journey.life.failures, 0U);
}

// Whoever asks for a restart may have put a new command in place: it is a first start again.
TEST(Life, ARestartByHandIntoACommandThatCannotStartIsFinal) {
  const SpawnFailed cannot_start{"execute 'x': No such file or directory"};
  Journey from_ready(policy_of(RestartPolicy::on_failure));
  from_ready.become_ready();
  from_ready.then(RestartAsked{10s});
  from_ready.end(kCode0);
  Journey from_back_off(policy_of(RestartPolicy::on_failure));
  from_back_off.become_ready();
  from_back_off.end(kCode3);
  from_back_off.then(RestartAsked{10s});
  for (Journey* journey : {&from_ready, &from_back_off}) {
    ASSERT_TRUE(is<Starting>(journey->life));
    journey->then(cannot_start);
    journey->then(TreeEmpty{});
    journey->then(MemorySeen{});
    ASSERT_TRUE(is<Over>(journey->life));
    EXPECT_TRUE(std::get<Over>(journey->life.state).failed);
    EXPECT_EQ(journey->life.reason.view(), "execute 'x': No such file or directory");
  }
}

TEST(Life, ACrashIsRepeatedAfterAPauseThatDoublesUpToItsMost) {
  auto policy = policy_of(RestartPolicy::on_failure);
  policy.backoff = {1s, 5s, 10min};
  Journey journey(policy);
  journey.become_ready();
  for (const auto pause : {1000ms, 2000ms, 4000ms, 5000ms, 5000ms}) {
    EXPECT_FALSE(has(journey.end(kSegv), Action::spawn));
    ASSERT_TRUE(is<BackingOff>(journey.life));
    EXPECT_EQ(journey.life.reason.view(), "ended by signal 11 (segmentation fault), core dumped");
    EXPECT_EQ(deadline(journey.life) - journey.now, pause);
    EXPECT_TRUE(has(journey.wait(), Action::spawn));
    journey.then(ProbePassed{}, 1s);
  }
  EXPECT_EQ(journey.life.failures, 5U);
  EXPECT_EQ(journey.life.generation, 6U);
}

TEST(Life, RunningLongEnoughForgetsEarlierFailures) {
  auto policy = policy_of(RestartPolicy::on_failure);
  policy.backoff = {1s, 60s, 10min};
  Journey journey(policy);
  journey.become_ready();
  for (int n = 0; n < 3; ++n) {
    journey.end(kCode3);
    journey.wait();
    journey.then(ProbePassed{});
  }
  EXPECT_EQ(journey.life.failures, 3U);
  journey.now += 10min;
  journey.end(kCode3);
  EXPECT_EQ(journey.life.failures, 1U);
  EXPECT_EQ(deadline(journey.life) - journey.now, 1s);
}

TEST(Life, AReadyServiceThatShowsNoLifeIsEndedAndRepeated) {
  Journey journey(policy_of(RestartPolicy::on_failure));
  journey.become_ready();
  EXPECT_TRUE(has(journey.then(LivenessLost{"GET /health failed 3 times in a row"}, 1s),
                  Action::term_tree));
  journey.then(MainEnded{kCode0});  // by our TERM: no success
  journey.then(TreeEmpty{});
  journey.then(MemorySeen{});
  ASSERT_TRUE(is<BackingOff>(journey.life));
  EXPECT_EQ(journey.life.reason.view(), "GET /health failed 3 times in a row");
  EXPECT_TRUE(has(journey.wait(), Action::spawn));
}

TEST(Life, ACrashLoopIsGivenUp) {
  auto policy = policy_of(RestartPolicy::always);
  policy.backoff = {1s, 1s, 10min};
  Journey journey(policy);
  journey.become_ready();
  for (std::uint32_t n = 1; n < kCrashLoop; ++n) {
    journey.end(kCode3);
    ASSERT_TRUE(is<BackingOff>(journey.life)) << n;
    journey.wait();
    journey.then(ProbePassed{}, 1s);
  }
  EXPECT_TRUE(has(journey.end(kCode3), Action::finish));
  ASSERT_TRUE(is<Over>(journey.life));
  EXPECT_TRUE(std::get<Over>(journey.life.state).failed);
  EXPECT_EQ(journey.life.reason.view(),
            "failed 10 times in a row, the last time: exited with code 3");
}

TEST(Life, AnEndThatIsNoFailureCountsForNoCrashLoop) {
  auto policy = policy_of(RestartPolicy::always);
  policy.backoff = {1s, 60s, 10min};
  Journey journey(policy);
  journey.become_ready();
  for (std::uint32_t n = 0; n < 2 * kCrashLoop; ++n) {
    journey.end(kCode0);
    ASSERT_TRUE(is<BackingOff>(journey.life)) << n;
    EXPECT_EQ(deadline(journey.life) - journey.now, 1s);
    journey.wait();
    journey.then(ProbePassed{}, 1s);
  }
}

TEST(Life, NotReadyInTimeEndsTheTreeAndFails) {
  Journey journey(policy_of(RestartPolicy::on_failure));
  journey.then(Begin{});
  EXPECT_TRUE(has(journey.wait(), Action::term_tree));
  EXPECT_EQ(journey.now, kStart + 60s);
  EXPECT_EQ(journey.life.reason.view(), "not ready within 60000 ms");
  EXPECT_TRUE(journey.then(ProbePassed{}).empty()) << "too late";
  journey.then(MainEnded{kCode0}, 1s);
  journey.then(TreeEmpty{});
  journey.then(MemorySeen{});
  ASSERT_TRUE(is<Over>(journey.life));
  EXPECT_TRUE(std::get<Over>(journey.life.state).failed)
      << "exit code 0 after our TERM is no success";
  EXPECT_EQ(journey.life.reason.view(), "not ready within 60000 ms");
}

TEST(Life, NotReadyInTimeAfterACrashIsRepeated) {
  Journey journey(policy_of(RestartPolicy::on_failure));
  journey.become_ready();
  journey.end(kCode3);
  journey.wait();
  journey.wait();  // 60 s without an answer
  journey.then(TreeEmpty{}, 1s);
  journey.then(MemorySeen{});
  ASSERT_TRUE(is<BackingOff>(journey.life));
  EXPECT_EQ(journey.life.failures, 2U);
}

TEST(Life, SpawnFailureEndsFailedWithItsReason) {
  for (const auto restart : {RestartPolicy::never, RestartPolicy::on_failure}) {
    Journey journey(policy_of(restart));
    journey.then(Begin{});
    journey.then(SpawnFailed{"execute 'pyhton3': No such file or directory"});
    EXPECT_TRUE(is<Ending>(journey.life))
        << "the child of the failed exec is still to be collected";
    journey.then(TreeEmpty{});
    journey.then(MemorySeen{});
    ASSERT_TRUE(is<Over>(journey.life));
    EXPECT_TRUE(std::get<Over>(journey.life.state).failed);
    EXPECT_EQ(journey.life.reason.view(), "execute 'pyhton3': No such file or directory");
  }
}

struct ExitCase {
  RestartPolicy restart;
  ExitStatus status;
  bool was_ready;
  const char* follows;  // "stopped", "failed" or "again"
};

TEST(Life, WhatFollowsMainsEndIsThePolicysChoice) {
  using enum RestartPolicy;
  const ExitCase table[] = {
      {never, kCode0, false, "stopped"},     {never, kCode0, true, "stopped"},
      {never, kCode3, false, "failed"},      {never, kCode3, true, "failed"},
      {never, kSegv, true, "failed"},        {on_failure, kCode0, true, "stopped"},
      {on_failure, kCode0, false, "failed"}, {on_failure, kCode3, false, "failed"},
      {on_failure, kCode3, true, "again"},   {on_failure, kSegv, true, "again"},
      {always, kCode0, false, "again"},      {always, kCode0, true, "again"},
      {always, kCode3, false, "again"},      {always, kCode3, true, "again"},
  };
  for (const auto& row : table) {
    SCOPED_TRACE(std::to_string(static_cast<int>(row.restart)) + " code " +
                 std::to_string(row.status.value) + (row.was_ready ? " ready" : " not ready"));
    Journey journey(policy_of(row.restart));
    journey.then(Begin{});
    if (row.was_ready) journey.then(ProbePassed{}, 1s);
    journey.end(row.status);
    const auto* over = std::get_if<Over>(&journey.life.state);
    EXPECT_EQ(is<BackingOff>(journey.life), row.follows == std::string_view("again"));
    EXPECT_EQ(over != nullptr && over->failed, row.follows == std::string_view("failed"));
    EXPECT_EQ(over != nullptr && !over->failed, row.follows == std::string_view("stopped"));
  }
}

TEST(Life, ExitBeforeReadySaysSo) {
  Journey journey(policy_of(RestartPolicy::on_failure));
  journey.then(Begin{});
  journey.end(kCode0);
  EXPECT_EQ(journey.life.reason.view(), "exited with code 0 before it was ready");
}

TEST(Life, StopBeforeBeginAndDuringBackOffFinishesAtOnce) {
  Journey idle(policy_of(RestartPolicy::always));
  EXPECT_TRUE(has(idle.then(StopAsked{10s}), Action::finish));
  EXPECT_FALSE(has(idle.then(Begin{}), Action::spawn));
  Journey waiting(policy_of(RestartPolicy::always));
  waiting.become_ready();
  waiting.end(kCode3);
  EXPECT_TRUE(has(waiting.then(StopAsked{10s}), Action::finish));
}

TEST(BackoffDelay, DoublesToItsMostAndStays) {
  const Backoff backoff{1s, 60s, 10min};
  EXPECT_EQ(backoff_delay(backoff, 0), 1s);
  EXPECT_EQ(backoff_delay(backoff, 1), 1s);
  EXPECT_EQ(backoff_delay(backoff, 2), 2s);
  EXPECT_EQ(backoff_delay(backoff, 6), 32s);
  EXPECT_EQ(backoff_delay(backoff, 7), 60s);
  EXPECT_EQ(backoff_delay(backoff, 4'000'000'000U), 60s);
  EXPECT_EQ(backoff_delay({5s, 2s, 1s}, 1), 2s);
}

TEST(BackoffDelay, IsShortenedByUpToAFifthThatTheJitterChooses) {
  const Backoff backoff{1s, 60s, 10min};
  std::set<milliseconds> pauses;
  for (std::uint32_t jitter = 1; jitter <= 200; ++jitter) {
    const auto pause = backoff_delay(backoff, 3, jitter);
    EXPECT_GE(pause, 3200ms);
    EXPECT_LE(pause, 4000ms);
    pauses.insert(pause);
  }
  EXPECT_GT(pauses.size(), 100U) << "neighbours do not come back together";
}

TEST(Describe, SaysHowMainEnded) {
  EXPECT_EQ(describe(kCode3).view(), "exited with code 3");
  EXPECT_EQ(describe({.signaled = true, .value = SIGKILL}).view(), "ended by signal 9 (killed)");
  EXPECT_EQ(describe({.signaled = true, .value = 40}).view(), "ended by signal 40 (signal)");
  EXPECT_EQ(kSegv.shell_code(), 139);
}

}  // namespace
}  // namespace gpuward
