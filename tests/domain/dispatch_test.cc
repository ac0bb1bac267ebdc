#include "domain/dispatch.h"

#include <algorithm>
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

}  // namespace
}  // namespace gpuward
