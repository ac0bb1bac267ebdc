#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "domain/lifecycle.h"
#include "domain/lives.h"

namespace gpuward {
namespace {

using namespace life;
using namespace std::chrono_literals;

// Every state with every event.

std::vector<State> every_state() {
  std::vector<State> states{
      Idle{},    Starting{kStart + 60s}, Ready{kStart - 5s}, BackingOff{kStart + 2s}, Over{false},
      Over{true}};
  for (const Then after : {Then::stop, Then::restart, Then::by_policy}) {
    states.push_back(Settling{after, kStart + 10s, kStart - 1s, true});
    states.push_back(Ending{after, Stage::term, kStart - 1s, kStart + 9s, false});
    for (const Stage stage : {Stage::kill, Stage::unkillable})
      states.push_back(Ending{after, stage, kStart - 1s, kStart + 4s, true});
  }
  return states;
}

std::vector<Event> every_event() {
  std::vector<Event> events{Begin{},
                            SpawnFailed{"execute 'x': No such file or directory"},
                            ProbePassed{},
                            LivenessLost{"GET /health failed 3 times in a row"},
                            MainEnded{kCode0},
                            MainEnded{kCode3},
                            MainEnded{kSegv},
                            TreeEmpty{},
                            MemorySeen{MemoryProof::returned},
                            MemorySeen{MemoryProof::held},
                            GivenUp{},
                            Tick{}};
  for (const auto grace : {-1ms, 0ms, 1ms, 3000ms, 3'600'000ms}) {
    events.emplace_back(StopAsked{grace});
    events.emplace_back(RestartAsked{grace});
  }
  return events;
}

struct Case {
  Life before;
  Event event;
  RestartPolicy restart;
  Instant now;

  std::string name() const {
    return "state " + std::to_string(before.state.index()) + ", event " +
           std::to_string(event.index()) + ", policy " + std::to_string(static_cast<int>(restart)) +
           ", ever_ready " + std::to_string(before.ever_ready) +
           (now >= deadline(before) ? ", after its deadline" : ", before its deadline");
  }
};

std::vector<Case> every_case() {
  std::vector<Case> cases;
  for (const auto& state : every_state())
    for (const auto& event : every_event())
      for (const auto restart :
           {RestartPolicy::never, RestartPolicy::on_failure, RestartPolicy::always})
        for (const bool ever_ready : {false, true})
          for (const auto now : {kStart, kStart + 2min}) {
            Life life;
            life.state = state;
            life.generation = 7;
            life.failures = 2;
            life.ever_ready = ever_ready;
            cases.push_back({life, event, restart, now});
          }
  return cases;
}

// Calls check(case, life after, actions) for every case.
template <class Check>
void for_every_case(Check&& check) {
  for (const auto& one : every_case()) {
    SCOPED_TRACE(one.name());
    Life after = one.before;
    const auto actions = step(after, one.event, policy_of(one.restart), one.now);
    check(one, after, actions);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(LifeOfEveryKind, SpawnsOnlyFromAnEmptyTree) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    const bool spawned = has(actions, Action::spawn);
    EXPECT_EQ(after.generation, one.before.generation + (spawned ? 1 : 0));
    if (!spawned) {
      EXPECT_FALSE(is<Starting>(after) && !is<Starting>(one.before));
      return;
    }
    EXPECT_TRUE(is<Idle>(one.before) || is<BackingOff>(one.before) || is<Settling>(one.before));
    EXPECT_TRUE(is<Starting>(after));
    EXPECT_TRUE(after.reason.empty());
    EXPECT_FALSE(after.last_exit.has_value());
  });
}

TEST(LifeOfEveryKind, OverIsForEver) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    if (!is<Over>(one.before)) return;
    ASSERT_TRUE(is<Over>(after));
    EXPECT_EQ(std::get<Over>(after.state).failed, std::get<Over>(one.before.state).failed);
    EXPECT_FALSE(has(actions, Action::finish) || has(actions, Action::spawn) ||
                 has(actions, Action::kill_tree));
  });
}

TEST(LifeOfEveryKind, EndingIsLeftOnlyByAnEmptyTree) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    const auto* before = std::get_if<Ending>(&one.before.state);
    if (before == nullptr) return;
    if (!std::holds_alternative<TreeEmpty>(one.event)) {
      EXPECT_TRUE(is<Ending>(after));
      return;
    }
    ASSERT_TRUE(is<Settling>(after));
    const auto& settling = std::get<Settling>(after.state);
    EXPECT_EQ(settling.then, before->then);
    EXPECT_EQ(settling.forced, before->forced);
    EXPECT_EQ(settling.began, before->began);
    EXPECT_EQ(settling.give_up, one.now + kMemoryWithin);
    EXPECT_TRUE(has(actions, Action::prove_memory));
  });
}

TEST(LifeOfEveryKind, EndingNeverGoesBackAStageNorForgetsItsForce) {
  for_every_case([](const Case& one, const Life& after, const LifeActions&) {
    const auto* before = std::get_if<Ending>(&one.before.state);
    const auto* now = std::get_if<Ending>(&after.state);
    if (before == nullptr || now == nullptr) return;
    EXPECT_GE(now->stage, before->stage);
    EXPECT_GE(now->forced, before->forced);
    EXPECT_EQ(now->began, before->began);
    EXPECT_EQ(now->forced, now->stage != Stage::term);
  });
}

TEST(LifeOfEveryKind, GraceIsNeverLengthened) {
  for_every_case([](const Case& one, const Life& after, const LifeActions&) {
    const auto* before = std::get_if<Ending>(&one.before.state);
    const auto* now = std::get_if<Ending>(&after.state);
    if (before == nullptr || now == nullptr) return;
    if (now->stage == before->stage && !std::holds_alternative<Tick>(one.event)) {
      EXPECT_LE(now->next, before->next);
    }
  });
}

TEST(LifeOfEveryKind, AStopIsNeverFollowedByAnotherGeneration) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    if (!std::holds_alternative<StopAsked>(one.event)) return;
    EXPECT_FALSE(has(actions, Action::spawn));
    const auto* ending = std::get_if<Ending>(&after.state);
    const auto* settling = std::get_if<Settling>(&after.state);
    EXPECT_TRUE(is<Over>(after) || (ending != nullptr && ending->then == Then::stop) ||
                (settling != nullptr && settling->then == Then::stop));
  });
}

TEST(LifeOfEveryKind, AStopOutranksARestart) {
  for_every_case([](const Case& one, const Life& after, const LifeActions&) {
    const auto stops = [](const Life& life) {
      const auto* ending = std::get_if<Ending>(&life.state);
      const auto* settling = std::get_if<Settling>(&life.state);
      return (ending != nullptr && ending->then == Then::stop) ||
             (settling != nullptr && settling->then == Then::stop);
    };
    EXPECT_TRUE(!stops(one.before) || stops(after) || is<Over>(after));
  });
}

TEST(LifeOfEveryKind, WhatIsGivenUpIsNotEndedAndWhatIsEndingIsNotGivenUp) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    if (!std::holds_alternative<GivenUp>(one.event)) return;
    EXPECT_FALSE(has(actions, Action::note_tree) || has(actions, Action::term_tree) ||
                 has(actions, Action::kill_tree) || has(actions, Action::spawn));
    if (is<Starting>(one.before) || is<Ready>(one.before)) {
      EXPECT_TRUE(is<Over>(after) && !std::get<Over>(after.state).failed);
      EXPECT_FALSE(after.reason.empty());
    } else {
      EXPECT_EQ(after.state.index(), one.before.state.index());
      EXPECT_TRUE(actions.empty());
    }
  });
}

TEST(LifeOfEveryKind, ATickBeforeTheDeadlineChangesNothing) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    if (!std::holds_alternative<Tick>(one.event) || one.now >= deadline(one.before)) return;
    EXPECT_TRUE(actions.empty());
    EXPECT_EQ(after.state.index(), one.before.state.index());
    EXPECT_EQ(deadline(after), deadline(one.before));
  });
}

TEST(LifeOfEveryKind, ATickAtTheDeadlineMovesTheDeadline) {
  for_every_case([](const Case& one, const Life& after, const LifeActions&) {
    if (std::holds_alternative<Tick>(one.event) && one.now >= deadline(one.before)) {
      EXPECT_GT(deadline(after), one.now);
    }
  });
}

TEST(LifeOfEveryKind, WaitsForEverOnlyWhereNothingIsDue) {
  for_every_case([](const Case& one, const Life& after, const LifeActions&) {
    for (const Life* life : {&one.before, &after})
      EXPECT_EQ(deadline(*life) == Instant::max(),
                is<Idle>(*life) || is<Ready>(*life) || is<Over>(*life));
  });
}

TEST(LifeOfEveryKind, EveryActionBelongsToItsChange) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    const auto entered = [&]<class S>(S) { return is<S>(after) && !is<S>(one.before); };
    EXPECT_EQ(actions.dropped(), 0U);
    EXPECT_EQ(has(actions, Action::finish), entered(Over{}));
    EXPECT_EQ(has(actions, Action::prove_memory), entered(Settling{}));
    EXPECT_EQ(has(actions, Action::note_tree), entered(Ending{}));
    EXPECT_EQ(has(actions, Action::probe), has(actions, Action::spawn));
    const bool given_up = std::holds_alternative<GivenUp>(one.event) && entered(Over{});
    EXPECT_EQ(has(actions, Action::stop_probing),
              entered(Ending{}) || entered(Ready{}) || given_up);
    EXPECT_EQ(has(actions, Action::watch), entered(Ready{}));
    if (entered(Ending{})) {
      EXPECT_NE(has(actions, Action::term_tree), has(actions, Action::kill_tree));
    }
    const auto* was = std::get_if<Ending>(&one.before.state);
    const auto* now = std::get_if<Ending>(&after.state);
    const bool became_unkillable = was != nullptr && now != nullptr &&
                                   was->stage != Stage::unkillable &&
                                   now->stage == Stage::unkillable;
    const bool left_settling = is<Settling>(one.before) && !is<Settling>(after);
    EXPECT_EQ(has(actions, Action::write_receipt), became_unkillable || left_settling);
  });
}

TEST(LifeOfEveryKind, ReadyIsReachedOnlyByTheProbe) {
  for_every_case([](const Case& one, const Life& after, const LifeActions&) {
    if (!is<Ready>(after) || is<Ready>(one.before)) return;
    EXPECT_TRUE(is<Starting>(one.before));
    EXPECT_TRUE(std::holds_alternative<ProbePassed>(one.event));
    EXPECT_TRUE(after.ever_ready);
  });
}

TEST(LifeOfEveryKind, OnlyAReadyServiceCanLoseItsLife) {
  for_every_case([](const Case& one, const Life& after, const LifeActions& actions) {
    if (!std::holds_alternative<LivenessLost>(one.event) || is<Ready>(one.before)) return;
    EXPECT_TRUE(actions.empty());
    EXPECT_EQ(after.state.index(), one.before.state.index());
  });
}

}  // namespace
}  // namespace gpuward
