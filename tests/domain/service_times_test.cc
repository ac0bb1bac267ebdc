#include "domain/service_times.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

TEST(ServiceTimes, UnknownUntilThreeWereSeen) {
  ServiceTimes times;
  EXPECT_FALSE(times.usual());
  times.add(1, 5_MiB, 2s);
  times.add(1, 5_MiB, 2s);
  EXPECT_FALSE(times.find(1, 5_MiB));
  EXPECT_EQ(times.usual(), 2s);
  times.add(1, 5_MiB, 2s);
  ASSERT_TRUE(times.find(1, 5_MiB));
  EXPECT_EQ(times.find(1, 5_MiB)->usual, 2s);
  EXPECT_TRUE(times.find(1, 6_MiB)) << "of similar size";
  EXPECT_FALSE(times.find(1, 9_MiB));
  EXPECT_FALSE(times.find(2, 5_MiB));
}

TEST(ServiceTimes, FloorUsualAndSafe) {
  ServiceTimes times;
  for (int i = 1; i <= 30; ++i) times.add(0, {}, std::chrono::seconds(i));
  const auto told = *times.find(0, {});
  EXPECT_NEAR(std::chrono::duration<double>(told.floor).count(), 4, 1);
  EXPECT_NEAR(std::chrono::duration<double>(told.usual).count(), 15.5, 0.1);
  EXPECT_NEAR(std::chrono::duration<double>(told.safe).count(), 27, 1);
}

TEST(ServiceTimes, FollowsWhatIsUsualNow) {
  ServiceTimes times;
  for (int i = 0; i < 100; ++i) times.add(0, {}, 2s);
  for (int i = 0; i < 32; ++i) times.add(0, {}, 6s);
  EXPECT_EQ(times.find(0, {})->usual, 6s);
  EXPECT_EQ(times.find(0, {})->floor, 2s) << "what is fastest is remembered for longer";
  for (int i = 0; i < 200; ++i) times.add(0, {}, 6s);
  EXPECT_EQ(times.find(0, {})->floor, 6s);
}

TEST(ServiceTimes, HoldsNoMoreKindsThanItMay) {
  ServiceTimes times;
  for (std::uint32_t route = 0; route < 1000; ++route)
    for (int i = 0; i < 3; ++i) times.add(route, {}, 1s);
  EXPECT_TRUE(times.find(ServiceTimes::kMostClasses - 1, {}));
  EXPECT_FALSE(times.find(ServiceTimes::kMostClasses, {}));
}

}  // namespace
}  // namespace gpuward
