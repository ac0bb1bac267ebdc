#include "domain/emergency_share.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

const Instant kStart = Instant{} + 1h;

TEST(EmergencyShare, AFifthOverFiveMinutes) {
  EmergencyShare share(0.2);
  share.pass_time(kStart, 1);
  EXPECT_TRUE(share.first());
  share.worked(59s);
  EXPECT_TRUE(share.first()) << "60 s of 300";
  share.worked(1s);
  EXPECT_FALSE(share.first());
  share.pass_time(kStart + 10s, 1);
  EXPECT_TRUE(share.first()) << "two seconds more";
  share.pass_time(kStart + 10h, 1);
  share.worked(60s);
  EXPECT_FALSE(share.first()) << "calm hours are not saved up";
}

TEST(EmergencyShare, APlaceIsKeptWhereTheyComeOften) {
  EmergencyShare share(0.2);
  share.pass_time(kStart, 1);
  share.arrived(20s);
  EXPECT_FALSE(share.often());
  share.arrived(20s);
  EXPECT_TRUE(share.often()) << "40 s in 10 min are 6.7 %";
  share.pass_time(kStart + 10min, 1);
  EXPECT_FALSE(share.often());
}

}  // namespace
}  // namespace gpuward
