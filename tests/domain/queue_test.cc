#include "domain/queue.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

const Instant kStart = Instant{} + 1h;
constexpr std::uint32_t kAny = JobQueue::kAnyLane;

class Queue : public ::testing::Test {
 protected:
  std::expected<void, Refusal> arrive(Job job, Duration when = 0s) {
    job.arrived = kStart + when;
    return queue.arrive(job, kAny, times, pace, job.arrived, displaced);
  }
  Job job(std::uint64_t id, JobClass of, std::optional<Duration> deadline = {}) {
    Job made{.id = {id}, .job_class = of};
    if (deadline) made.deadline = kStart + *deadline;
    return made;
  }
  std::vector<std::uint64_t> order() const {
    std::vector<std::uint64_t> ids;
    queue.for_each_place(pace, [&](const WaitingJob& waiting, const Place& place) {
      EXPECT_EQ(place.rank, ids.size());
      EXPECT_EQ(queue.place(waiting.job.id, pace)->rank, place.rank);
      EXPECT_EQ(queue.place(waiting.job.id, pace)->eta, place.eta);
      ids.push_back(waiting.job.id.value);
    });
    return ids;
  }
  void learn(Duration takes) {
    for (int i = 0; i < 10; ++i) times.add(0, {}, takes);
    pace.usual = takes;
  }

  QueueSettings settings;
  ServiceTimes times;
  Pace pace;
  std::vector<RefusedJob> displaced;
  JobQueue queue{settings};
};

using Ids = std::vector<std::uint64_t>;

TEST_F(Queue, ClassesThenDeadlines) {
  ASSERT_TRUE(arrive(job(1, JobClass::batch, 60s)));
  ASSERT_TRUE(arrive(job(2, JobClass::interactive, 100s)));
  ASSERT_TRUE(arrive(job(3, JobClass::interactive, 50s)));
  ASSERT_TRUE(arrive(job(4, JobClass::emergency, 300s)));
  EXPECT_EQ(order(), (Ids{4, 3, 2, 1}));
}

TEST_F(Queue, EqualDeadlinesGoRoundTheCallers) {
  for (std::uint64_t id = 1; id <= 6; ++id) {
    Job one = job(id, JobClass::interactive, 100s);
    one.caller = id <= 4 ? 1 : 2;
    ASSERT_TRUE(arrive(one));
  }
  EXPECT_EQ(order(), (Ids{1, 5, 2, 6, 3, 4}));
}

TEST_F(Queue, ABatchJobAgesIntoInteractiveWithItsOwnDeadline) {
  ASSERT_TRUE(arrive(job(1, JobClass::batch, 1000s)));
  ASSERT_TRUE(arrive(job(2, JobClass::interactive, 1100s)));
  EXPECT_EQ(order(), (Ids{2, 1}));
  EXPECT_EQ(queue.next_due(), kStart + 600s);
  std::vector<RefusedJob> refused;
  queue.pass_time(kStart + 600s, times, refused);
  EXPECT_EQ(order(), (Ids{1, 2}));
  ASSERT_TRUE(arrive(job(3, JobClass::emergency, 2000s)));
  EXPECT_EQ(order(), (Ids{3, 1, 2})) << "never into emergency";
}

TEST_F(Queue, WhatCannotFinishIsRefusedWithNumbers) {
  learn(10s);
  for (std::uint64_t id = 1; id <= 5; ++id)
    ASSERT_TRUE(arrive(job(id, JobClass::interactive, 100s)));
  const auto late = arrive(job(6, JobClass::interactive, 55s));
  EXPECT_TRUE(late) << "its deadline is before theirs";
  const auto never = arrive(job(7, JobClass::interactive, 100s + 1ms));
  EXPECT_TRUE(never);
  const auto refused = arrive(job(8, JobClass::batch, 60s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, RefusalReason::cannot_finish);
  EXPECT_EQ(refused.error().eta, 70s);
  EXPECT_EQ(refused.error().service, 10s);
  EXPECT_EQ(refused.error().left, 60s);
  EXPECT_GE(refused.error().retry_after, 70s);
  EXPECT_LE(refused.error().retry_after, 85s);
}

TEST_F(Queue, UnknownDurationsAreNotRefusedBeforeTheirDeadline) {
  for (std::uint64_t id = 1; id <= 100; ++id)
    ASSERT_TRUE(arrive(job(id, JobClass::interactive, 1s)));
  std::vector<RefusedJob> refused;
  queue.pass_time(kStart + 1s, times, refused);
  EXPECT_TRUE(refused.empty());
  queue.pass_time(kStart + 1s + 1ns, times, refused);
  EXPECT_EQ(refused.size(), 100U);
  EXPECT_EQ(refused[0].refusal.reason, RefusalReason::too_late);
  EXPECT_EQ(queue.size(), 0U);
}

TEST_F(Queue, ByCountTheWorstMakesRoomForABetterOne) {
  settings.classes[1].most_jobs = 2;
  queue = JobQueue(settings);
  ASSERT_TRUE(arrive(job(1, JobClass::interactive, 50s)));
  ASSERT_TRUE(arrive(job(2, JobClass::interactive, 80s)));
  const auto worse = arrive(job(3, JobClass::interactive, 90s));
  ASSERT_FALSE(worse);
  EXPECT_EQ(worse.error().reason, RefusalReason::queue_full);
  EXPECT_EQ(worse.error().waiting, 2U);
  ASSERT_TRUE(arrive(job(4, JobClass::interactive, 60s)));
  ASSERT_EQ(displaced.size(), 1U);
  EXPECT_EQ(displaced[0].id, JobId{2});
  EXPECT_EQ(displaced[0].refusal.reason, RefusalReason::displaced);
  EXPECT_TRUE(arrive(job(5, JobClass::batch))) << "each class has its own bound";
}

TEST_F(Queue, ByBytesAsManyAsNeededMakeRoom) {
  settings.classes[1].most_bytes = 10_MiB;
  queue = JobQueue(settings);
  const auto with = [&](std::uint64_t id, Duration deadline, Bytes held) {
    Job made = job(id, JobClass::interactive, deadline);
    made.held = held;
    return arrive(made);
  };
  ASSERT_TRUE(with(1, 50s, 4_MiB));
  ASSERT_TRUE(with(2, 80s, 3_MiB));
  ASSERT_TRUE(with(3, 90s, 3_MiB));
  const auto too_much = with(4, 60s, 7_MiB);
  ASSERT_FALSE(too_much) << "even without 2 and 3";
  EXPECT_EQ(too_much.error().reason, RefusalReason::queue_bytes_full);
  EXPECT_TRUE(displaced.empty()) << "nobody leaves for nothing";
  ASSERT_TRUE(with(5, 60s, 6_MiB));
  EXPECT_EQ(displaced.size(), 2U);
  EXPECT_EQ(queue.bytes(JobClass::interactive), 10_MiB);
  const auto never = with(6, 10s, 11_MiB);
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().retry_after, 0s);
}

TEST_F(Queue, ACallersQuota) {
  settings.most_per_caller = 2;
  queue = JobQueue(settings);
  for (std::uint64_t id = 1; id <= 3; ++id) {
    Job one = job(id, JobClass::batch);
    one.caller = 9;
    const auto arrived = arrive(one);
    EXPECT_EQ(arrived.has_value(), id <= 2);
    if (!arrived) {
      EXPECT_EQ(arrived.error().reason, RefusalReason::over_quota);
    }
  }
  EXPECT_TRUE(queue.forget({1}));
  EXPECT_TRUE(queue.forget({2}));
  EXPECT_EQ(queue.callers(), 0U);
}

TEST_F(Queue, ForgettingLeavesNothing) {
  Job one = job(1, JobClass::batch, 700s);
  one.caller = 3;
  one.held = 5_MiB;
  ASSERT_TRUE(arrive(one));
  EXPECT_TRUE(queue.forget({1}));
  EXPECT_FALSE(queue.forget({1}));
  EXPECT_EQ(queue.bytes(JobClass::batch).count, 0U);
  EXPECT_EQ(queue.size(JobClass::batch), 0U);
  EXPECT_EQ(queue.next_due(), Instant::max());
}

TEST_F(Queue, WhoComesBackHasItsOldPlace) {
  ASSERT_TRUE(arrive(job(1, JobClass::interactive, 50s)));
  ASSERT_TRUE(arrive(job(2, JobClass::interactive, 50s)));
  const Ticket ticket = queue.take(*queue.first(2, kAny));
  EXPECT_EQ(ticket.job.id, JobId{1});
  queue.come_back(ticket, kAny, times, kStart + 1s);
  EXPECT_EQ(order(), (Ids{1, 2}));
}

TEST_F(Queue, DoubtfulOnesAreBehindTheirClassOnly) {
  ASSERT_TRUE(arrive(job(1, JobClass::interactive, 50s)));
  ASSERT_TRUE(arrive(job(2, JobClass::interactive, 60s)));
  ASSERT_TRUE(arrive(job(3, JobClass::batch, 40s)));
  queue.doubt(*queue.find({1}));
  EXPECT_EQ(order(), (Ids{2, 1, 3}));
}

TEST_F(Queue, EtaCountsWorkAheadAndInFlight) {
  learn(10s);
  pace.at_once = 2;
  pace.in_flight = 6s;
  for (std::uint64_t id = 1; id <= 3; ++id) ASSERT_TRUE(arrive(job(id, JobClass::batch)));
  EXPECT_EQ(queue.place({1}, pace)->eta, 3s);
  EXPECT_EQ(queue.place({3}, pace)->eta, 13s);
  pace.free = 1;
  EXPECT_EQ(queue.place({1}, pace)->eta, 0s);
  EXPECT_FALSE(queue.place({9}, pace));
}

}  // namespace
}  // namespace gpuward
