#include "domain/dispatch.h"

#include <array>
#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

constexpr ReplicaId kFirst{0};
constexpr ReplicaId kSecond{1};

Instant at(Duration since) {
  return Instant{} + 1h + since;
}

/// One service, whose jobs take what finish() says.
class Service : public ::testing::Test {
 protected:
  explicit Service(std::uint32_t replicas = 1) {
    for (std::uint32_t i = 0; i < replicas; ++i) {
      dispatcher.add_replica({i}, nullptr);
      dispatcher.ready({i}, at(0s));
    }
  }
  Job job(JobClass of = JobClass::interactive, Duration arrived = 0s) {
    return {.id = {++last_id}, .job_class = of, .arrived = at(arrived)};
  }
  std::vector<Start> pump(Duration now) {
    turn.clear();
    dispatcher.pump(at(now), turn);
    return turn.start;
  }

  MemoryPool host;
  Dispatcher dispatcher{{}, host};
  Turn turn;
  std::uint64_t last_id = 0;
};

TEST_F(Service, AJobGoesInAndIsGoneWhenItEnds) {
  const Job one = job();
  ASSERT_TRUE(dispatcher.arrive(one, at(0s)));
  const auto started = pump(0s);
  ASSERT_EQ(started.size(), 1U);
  EXPECT_EQ(started[0].job, one.id);
  EXPECT_EQ(dispatcher.waiting(), 0U);
  EXPECT_EQ(dispatcher.in_flight(), 1U);
  EXPECT_TRUE(dispatcher.finish(one.id, JobEnd::done, at(1s)));
  EXPECT_EQ(dispatcher.in_flight(), 0U);
  EXPECT_FALSE(dispatcher.finish(one.id, JobEnd::done, at(1s)));
}

TEST_F(Service, TheSecondWaitsForTheFirst) {
  const Job one = job();
  const Job two = job();
  ASSERT_TRUE(dispatcher.arrive(one, at(0s)));
  ASSERT_TRUE(dispatcher.arrive(two, at(0s)));
  EXPECT_EQ(pump(0s).size(), 1U);
  ASSERT_TRUE(dispatcher.place(two.id, at(0s)));
  EXPECT_EQ(dispatcher.place(two.id, at(0s))->rank, 0U);
  EXPECT_FALSE(dispatcher.place(one.id, at(0s)));
  dispatcher.finish(one.id, JobEnd::done, at(2s));
  EXPECT_EQ(pump(2s).size(), 1U);
}

// Two replicas that are taught how long jobs take, each on a card of its own.
class Pair : public ::testing::Test {
 protected:
  Pair() {
    for (std::uint32_t i = 0; i < 2; ++i) {
      cards[i].see(24_GiB, {});
      dispatcher.add_replica({i}, &cards[i]);
      dispatcher.ready({i}, now);
    }
  }
  Job job(Bytes size = 1_MiB, std::uint64_t session = 0) {
    return {.id = {++last_id}, .session = session, .size = size, .arrived = now};
  }
  JobId arrive(const Job& of) {
    EXPECT_TRUE(dispatcher.arrive(of, now));
    return of.id;
  }
  std::vector<Start> pump() {
    turn.clear();
    dispatcher.pump(now, turn);
    return turn.start;
  }
  void look(std::uint32_t replica, Bytes held, Bytes peak) {
    dispatcher.see({replica}, {.gpu = {.held = held, .peak = peak, .peak_at = now}, .host = {}},
                   now);
  }
  // Many jobs of 4 GiB and two seconds; then the limit of each is at least 2.
  void teach() {
    for (std::uint32_t i = 0; i < 2; ++i) look(i, 6_GiB, 6_GiB);
    for (int i = 0; i < 30; ++i) {
      for (int more = 0; more < 2; ++more) arrive(job());
      const auto started = pump();
      now += 2s;
      for (std::uint32_t at = 0; at < 2; ++at)
        look(at, 6_GiB, 6_GiB + Bytes{(4_GiB).count * dispatcher.status({at}).in_flight});
      for (const Start& start : started) dispatcher.finish(start.job, JobEnd::done, now);
    }
    while (dispatcher.waiting() > 0) {
      now += 2s;
      for (const Start& start : pump()) dispatcher.finish(start.job, JobEnd::done, now);
    }
    look(0, 6_GiB, 6_GiB);
    look(1, 6_GiB, 6_GiB);
    ASSERT_GE(dispatcher.status(kFirst).limit, 2U);
    ASSERT_GE(dispatcher.status(kSecond).limit, 2U);
  }

  Instant now = at(0s);
  std::array<MemoryPool, 2> cards;
  MemoryPool host;
  Dispatcher dispatcher{{}, host};
  Turn turn;
  std::uint64_t last_id = 0;
};

TEST_F(Pair, TheOneWithFewerReservedBytesTakesIt) {
  teach();
  arrive(job());
  EXPECT_EQ(pump()[0].replica, kFirst);
  arrive(job());
  EXPECT_EQ(pump()[0].replica, kSecond);
}

TEST_F(Pair, ASessionWaitsForItsReplica) {
  const JobId one = arrive(job(1_MiB, 7));
  const JobId two = arrive(job(1_MiB, 7));
  const auto first = pump();
  ASSERT_EQ(first.size(), 1U) << "the second replica is free, but not its own";
  EXPECT_EQ(first[0].job, one);
  EXPECT_EQ(dispatcher.bound(7), first[0].replica);
  dispatcher.finish(one, JobEnd::done, now += 1s);
  const auto second = pump();
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].job, two);
  EXPECT_EQ(second[0].replica, first[0].replica);
}

TEST_F(Pair, ADrainingReplicaLosesItsSessionsAsTheyFallIdle) {
  const JobId one = arrive(job(1_MiB, 7));
  const ReplicaId home = pump().at(0).replica;
  const ReplicaId other = home == kFirst ? kSecond : kFirst;
  const JobId two = arrive(job(1_MiB, 7));
  dispatcher.drain(home, now);
  EXPECT_TRUE(pump().empty());
  EXPECT_FALSE(dispatcher.drained(home));
  dispatcher.finish(one, JobEnd::done, now += 1s);
  EXPECT_TRUE(dispatcher.drained(home));
  const auto next = pump();
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].job, two);
  EXPECT_EQ(next[0].replica, other);
}

TEST_F(Pair, AHeldSessionIsNotBoundAnewUntilItsReplicaIsDown) {
  const JobId one = arrive(job(1_MiB, 7));
  const ReplicaId home = pump().at(0).replica;
  dispatcher.hold_session(7, now);
  dispatcher.finish(one, JobEnd::done, now += 1s);
  dispatcher.drain(home, now);
  arrive(job(1_MiB, 7));
  EXPECT_TRUE(pump().empty()) << "its state is there";
  dispatcher.down(home, now);
  const auto next = pump();
  ASSERT_EQ(next.size(), 1U);
  EXPECT_NE(next[0].replica, home);
}

TEST_F(Pair, WhatADeadReplicaHadIsToldAndCanWaitAgain) {
  const JobId one = arrive(job());
  const JobId two = arrive(job());
  ASSERT_EQ(pump().size(), 2U);
  EXPECT_EQ(dispatcher.down(kFirst, now), std::vector<JobId>{one});
  EXPECT_EQ(dispatcher.in_flight(), 2U) << "until it is told";
  EXPECT_EQ(cards[0].jobs(), 0U) << "but its memory is free";
  EXPECT_TRUE(dispatcher.give_back(one, now));
  EXPECT_EQ(dispatcher.waiting(), 1U);
  EXPECT_TRUE(pump().empty());
  dispatcher.finish(two, JobEnd::done, now += 1s);
  ASSERT_EQ(pump().size(), 1U);
  EXPECT_EQ(turn.start[0].job, one);
  EXPECT_EQ(turn.start[0].replica, kSecond);
  dispatcher.cancel(one, now);
  EXPECT_FALSE(dispatcher.give_back(one, now)) << "nobody waits for it";
}

TEST_F(Pair, AClientThatLeavesKeepsThePlaceUntilTheReplicaHasEnded) {
  const JobId one = arrive(job());
  pump();
  EXPECT_EQ(dispatcher.cancel(one, now), Cancelled::in_flight);
  EXPECT_EQ(dispatcher.in_flight(), 1U);
  EXPECT_TRUE(dispatcher.finish(one, JobEnd::cancelled, now));
  EXPECT_EQ(dispatcher.cancel(one, now), Cancelled::unknown);
}

// Smaller ones may pass the one that memory keeps, for two service times; then its card is left to
// it.
TEST_F(Pair, MemoryDrainsForTheHead) {
  teach();
  dispatcher.down(kSecond, now);
  const JobId busy = arrive(job());
  ASSERT_EQ(pump().size(), 1U);
  const JobId giant = arrive(job(4_MiB));  // 18.4 GiB, of 17
  const JobId small = arrive(job());
  const auto passed = pump();
  ASSERT_EQ(passed.size(), 1U);
  EXPECT_EQ(passed[0].job, small);
  dispatcher.finish(small, JobEnd::done, now += 2s);
  now += 5s;
  arrive(job());
  EXPECT_TRUE(pump().empty()) << "it has waited for long enough";
  dispatcher.finish(busy, JobEnd::done, now += 1s);
  const auto next = pump();
  ASSERT_FALSE(next.empty());
  EXPECT_EQ(next[0].job, giant) << "an empty card admits one";
}

TEST_F(Pair, EverybodyIsRefusedAtTheEnd) {
  for (int i = 0; i < 5; ++i) arrive(job(1_MiB, 7));
  std::vector<RefusedJob> refused;
  dispatcher.refuse_all(RefusalReason::shutting_down, refused, now);
  EXPECT_EQ(refused.size(), 5U);
  EXPECT_EQ(dispatcher.waiting(), 0U);
}

TEST_F(Service, EmergenciesGoFirstUpToTheirShare) {
  std::uint64_t emergencies = 0;
  std::uint64_t others = 0;
  Duration now = 0s;
  std::optional<JobId> running;
  for (int i = 0; i < 1200; ++i, now += 1s) {
    for (const JobClass of : {JobClass::emergency, JobClass::interactive})
      (void)dispatcher.arrive(job(of, now), at(now));
    if (running) dispatcher.finish(*running, JobEnd::failed, at(now));
    for (const Start& start : pump(now)) {
      // Of the two that come each second the emergency has the odd number.
      ++(start.job.value % 2 == 1 ? emergencies : others);
      running = start.job;
    }
  }
  EXPECT_GE(emergencies, 0.19 * 1200);
  EXPECT_LE(emergencies, 0.2 * 1200 + 62) << "a fifth, and what five minutes may bring";
  EXPECT_GE(others, 800U);
}

}  // namespace
}  // namespace gpuward
