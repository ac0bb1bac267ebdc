#include "domain/holder_history.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

#include "domain/holder.h"

namespace gpuward {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Duration kLook = seconds(5);
constexpr auto kLimit = minutes(10);

// A process of a simulated service: when it lives, and when it works.
struct Actor {
  ProcessId id;
  Pid parent;
  Duration born;  // after the start; READY is at kReady
  Duration dies = hours(24 * 30);
  std::uint64_t ticks_per_look = 0;         // of CPU, whatever it does
  Duration works_every = Duration::zero();  // zero: never after its first job
  Duration first_job = seconds(10);         // it works so long from its birth on
  std::uint32_t clients_left = 0;
};

constexpr Duration kReady = minutes(2);

/// Plays @p actors for @p length. @return the pids that were ever called IDLE_HOLDER.
std::vector<pid_t> play(std::vector<Actor> actors, Duration length) {
  HolderHistory history;
  std::vector<std::uint64_t> ticks(actors.size(), 0);
  std::vector<pid_t> found;
  const Instant start = Instant{} + hours(1);
  for (Duration at{}; at < length; at += kLook) {
    std::vector<HolderHistory::Sight> sights;
    for (std::size_t n = 0; n < actors.size(); ++n) {
      const Actor& actor = actors[n];
      if (at < actor.born || at >= actor.dies) continue;
      const Duration age = at - actor.born;
      const bool works = age < actor.first_job ||
                         (actor.works_every != Duration::zero() && age % actor.works_every < kLook);
      ticks[n] += actor.ticks_per_look + (works ? 300 : 0);
      HolderHistory::Sight sight;
      sight.id = actor.id;
      sight.parent = actor.parent;
      sight.memory = 1_GiB;
      sight.busy = works;
      sight.cpu_ticks = ticks[n];
      sight.start_up_body = actor.born <= kReady + kStartUpTail;
      sights.push_back(sight);
    }
    history.see(sights, start + at);
    for (std::size_t n = 0; n < actors.size(); ++n) {
      const auto* use = std::as_const(history).find(actors[n].id);
      if (use == nullptr || at <= kReady) continue;
      HolderFacts facts;
      facts.lineage = Lineage::member;
      facts.service = "engine";
      facts.idle.limit = kLimit;
      facts.idle.born_after_ready = actors[n].born - kReady;
      facts.idle.start_up_body = use->start_up_body;
      facts.idle.worked_again = use->worked_again;
      if (use->cpu_known) facts.idle.idle_for = start + at - use->idle_since;
      facts.idle.connections_left = actors[n].clients_left;
      const pid_t pid = actors[n].id.pid.number;
      if (is_idle_holder(facts) && std::ranges::find(found, pid) == found.end())
        found.push_back(pid);
    }
  }
  return found;
}

Actor actor(pid_t pid, pid_t parent, Duration born) {
  return {.id = {Pid{pid}, static_cast<std::uint64_t>(pid)}, .parent = Pid{parent}, .born = born};
}

// harm.md 5. Every shape is idle for 7 days, but for what it does by itself.
TEST(HolderHistory, AnIdleEngineOfAnyShapeIsNeverACandidate) {
  std::vector<Actor> vllm = {actor(10, 1, seconds(0)), actor(11, 10, seconds(20)),
                             actor(12, 11, seconds(40)), actor(13, 11, seconds(41))};
  EXPECT_TRUE(play(vllm, hours(24 * 7)).empty()) << "EngineCore and its workers";

  std::vector<Actor> ray = {actor(20, 1, seconds(0)), actor(21, 20, seconds(30)),
                            actor(22, 20, minutes(30))};
  for (auto& one : ray) one.ticks_per_look = 5;  // its heartbeats
  EXPECT_TRUE(play(ray, hours(24 * 7)).empty()) << "an actor that came later breathes";

  std::vector<Actor> whisper = {actor(30, 1, seconds(0)), actor(31, 30, minutes(5))};
  whisper[1].works_every = minutes(7);  // made by its first request, and used again
  EXPECT_TRUE(play(whisper, hours(24 * 7)).empty()) << "a worker made by the first request";

  std::vector<Actor> gunicorn = {actor(40, 1, seconds(0)), actor(41, 40, seconds(10)),
                                 actor(42, 40, seconds(10))};
  for (int day = 1; day < 7; ++day) {  // max_requests: each night a new one in an old one's place
    auto fresh = actor(42 + day, 40, hours(24 * day) + seconds(1));
    gunicorn.back().dies = hours(24 * day);
    gunicorn.push_back(fresh);
  }
  EXPECT_TRUE(play(gunicorn, hours(24 * 7)).empty()) << "a worker in the place of another";

  std::vector<Actor> loader = {actor(50, 1, seconds(0)), actor(51, 50, seconds(60)),
                               actor(52, 50, seconds(60))};
  EXPECT_TRUE(play(loader, hours(24 * 7)).empty()) << "DataLoader workers of the start";
}

TEST(HolderHistory, WhatJobsLeftBehindAreCandidatesAndNobodyElseIs) {
  std::vector<Actor> article = {actor(60, 1, seconds(0)), actor(61, 60, seconds(30)),
                                actor(62, 60, minutes(10)), actor(63, 60, minutes(11)),
                                actor(64, 60, minutes(12))};
  article[4].clients_left = 1;  // somebody still waits for that one
  EXPECT_EQ(play(article, hours(2)), (std::vector<pid_t>{62, 63}));
}

HolderHistory::Sight sight(pid_t pid, std::uint64_t ticks) {
  HolderHistory::Sight one;
  one.id = {Pid{pid}, 1};
  one.memory = 1_GiB;
  one.cpu_ticks = ticks;
  return one;
}

void see(HolderHistory& history, HolderHistory::Sight one, Instant now) {
  history.see({&one, 1}, now);
}

TEST(HolderHistory, AnySignOfWorkBeginsTheIdlenessAnew) {
  struct Row {
    const char* what;
    void (*change)(HolderHistory::Sight&);
  };
  for (const Row& row : {Row{"CPU", [](auto& s) { s.cpu_ticks = 103; }},
                         {"GPU", [](auto& s) { s.busy = true; }},
                         {"memory", [](auto& s) { s.memory = 2_GiB; }}}) {
    HolderHistory history;
    Instant now = Instant{} + hours(1);
    for (int n = 0; n < 10; ++n) see(history, sight(1, 100), now += seconds(5));
    auto busy = sight(1, 100);
    row.change(busy);
    see(history, busy, now += seconds(5));
    ASSERT_NE(history.find({Pid{1}, 1}), nullptr);
    EXPECT_EQ(history.find({Pid{1}, 1})->idle_since, now) << row.what;
    EXPECT_FALSE(history.find({Pid{1}, 1})->cpu_known) << row.what << ": not known before a look";
  }
}

TEST(HolderHistory, ManySmallStepsOfCpuAreWorkToo) {
  HolderHistory history;
  Instant now = Instant{} + hours(1);
  std::uint64_t ticks = 0;
  for (int n = 0; n < 100; ++n) see(history, sight(1, ticks += 2), now += seconds(5));
  EXPECT_LT(now - history.find({Pid{1}, 1})->idle_since, minutes(1));
}

TEST(HolderHistory, AfterATimeWithoutLooksNobodyIsCalledIdle) {
  HolderHistory history;
  Instant now = Instant{} + hours(1);
  for (int n = 0; n < 10; ++n) see(history, sight(1, 100), now += seconds(5));
  see(history, sight(1, 100), now += HolderHistory::kLongestGap + seconds(1));
  EXPECT_EQ(history.find({Pid{1}, 1})->idle_since, now);
  EXPECT_FALSE(history.find({Pid{1}, 1})->worked_again) << "nothing was seen of it";
}

TEST(HolderHistory, AReusedNumberBeginsItsOwnHistory) {
  HolderHistory history;
  const Instant now = Instant{} + hours(1);
  see(history, sight(1, 100), now);
  auto next = sight(1, 0);
  next.id.start_ticks = 2;
  see(history, next, now + seconds(5));
  EXPECT_EQ(history.find({Pid{1}, 1}), nullptr);
  EXPECT_EQ(history.find(next.id)->first_seen, now + seconds(5));
  EXPECT_EQ(history.size(), 1U);
}

// After a restart of whoever watches, all of history is lost: which worker took whose place, and
// who waits for work.
TEST(HolderHistory, APastThatNobodyHasSeenSpeaksAgainstNobody) {
  HolderHistory history;
  Instant now = Instant{} + hours(1);
  see(history, sight(1, 100), now);
  EXPECT_TRUE(history.find({Pid{1}, 1})->start_up_body) << "there at the first look";
  auto late = sight(2, 0);
  late.age = HolderHistory::kUnseenPast + seconds(1);
  see(history, late, now += seconds(5));
  EXPECT_TRUE(history.find({Pid{2}, 1})->start_up_body) << "older than what was watched of it";
  auto fresh = sight(3, 0);
  fresh.age = seconds(2);
  see(history, fresh, now += seconds(5));
  EXPECT_TRUE(history.find({Pid{3}, 1})->start_up_body) << "in the place of the one before";
  history.see({}, now += seconds(5));
  fresh.id.pid = Pid{4};
  see(history, fresh, now += seconds(5));
  fresh.id.pid = Pid{5};
  fresh.parent = Pid{77};
  see(history, fresh, now += seconds(5));
  EXPECT_FALSE(history.find({Pid{5}, 1})->start_up_body);
}

TEST(HolderHistory, OneLookWithoutItsRowForgetsNobodyWhoLives) {
  HolderHistory history;
  const auto lives = [](const ProcessId& id) { return id.pid == Pid{1}; };
  Instant now = Instant{} + hours(1);
  auto body = sight(1, 100);
  body.start_up_body = true;
  auto other = sight(2, 100);
  const std::vector<HolderHistory::Sight> both = {body, other};
  for (int n = 0; n < 20; ++n) history.see(both, now += seconds(5), lives);
  const auto first_seen = history.find(body.id)->first_seen;
  history.see({}, now += seconds(5), lives);
  EXPECT_EQ(history.find(other.id), nullptr);
  body.start_up_body = false;  // its service was READY before, for all that is known by now
  const std::vector<HolderHistory::Sight> one = {body};
  history.see(one, now += seconds(5), lives);
  ASSERT_NE(history.find(body.id), nullptr);
  EXPECT_EQ(history.find(body.id)->first_seen, first_seen);
  EXPECT_TRUE(history.find(body.id)->start_up_body);
  EXPECT_EQ(history.find(body.id)->idle_since, now) << "what it did meanwhile was not seen";
  EXPECT_FALSE(history.find(body.id)->worked_again);
}

TEST(HolderHistory, HoldsNoMoreThanItSays) {
  HolderHistory history;
  std::vector<HolderHistory::Sight> many;
  for (std::size_t n = 0; n < HolderHistory::kMost + 100; ++n)
    many.push_back(sight(static_cast<pid_t>(n + 1), 0));
  history.see(many, Instant{} + hours(1));
  EXPECT_EQ(history.size(), HolderHistory::kMost);
}

}  // namespace
}  // namespace gpuward
