#include "domain/limiter.h"

#include <functional>
#include <gtest/gtest.h>
#include <vector>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

/// A replica that is always kept full: with n in flight a job takes what `takes` says.
class Kept {
 public:
  explicit Kept(std::function<double(double)> takes) : takes_(std::move(takes)) {}

  void run(int jobs, bool may_grow = true) {
    for (int i = 0; i < jobs; ++i) {
      while (limiter.in_flight() < limiter.limit()) limiter.began(now);
      const double n = limiter.in_flight();
      now += std::chrono::duration_cast<Duration>(std::chrono::duration<double>(takes_(n) / n));
      limiter.done(takes_(n) / takes_(1), may_grow, now);
      most = std::max(most, limiter.limit());
    }
  }

  Limiter limiter;
  Instant now = Instant{} + 1h;
  std::uint32_t most = 1;

 private:
  std::function<double(double)> takes_;
};

double serial(double n) {
  return n;
}
// Up to four at a time cost nothing.
double four_wide(double n) {
  return std::max(1.0, n / 4);
}

TEST(Limiter, ASerialReplicaStaysNearOne) {
  Kept kept(serial);
  kept.run(500);
  EXPECT_LE(kept.most, 4U);
  EXPECT_LE(kept.limiter.limit(), 3U);
}

TEST(Limiter, FindsTheWidthWithinSixtyJobs) {
  Kept kept(four_wide);
  kept.run(60);
  EXPECT_GE(kept.limiter.limit(), 4U);
  kept.run(2000);
  EXPECT_GE(kept.limiter.limit(), 4U);
  EXPECT_LE(kept.most, 8U) << "no creeping";
}

TEST(Limiter, WhatWasNotTestedDoesNotGrow) {
  Kept kept(four_wide);
  kept.run(60);
  const auto limit = kept.limiter.limit();
  Limiter& limiter = kept.limiter;
  while (limiter.in_flight() > 0) limiter.left(kept.now);
  for (int i = 0; i < 200; ++i) {
    limiter.began(kept.now);
    kept.now += 1s;
    limiter.done(1, true, kept.now);
  }
  EXPECT_EQ(limiter.limit(), limit);
  EXPECT_EQ(limiter.why(), Limiter::Why::untested);
}

TEST(Limiter, WithoutFreshNumbersItDoesNotGrow) {
  Kept kept(four_wide);
  kept.run(500, false);
  EXPECT_EQ(kept.limiter.limit(), 1U);
}

TEST(Limiter, AFailureHalvesAndSetsACeilingForAnHour) {
  Kept kept(four_wide);
  kept.run(60);
  while (kept.limiter.in_flight() < kept.limiter.limit()) kept.limiter.began(kept.now);
  const auto before = kept.limiter.limit();
  kept.limiter.failed(kept.now);
  EXPECT_EQ(kept.limiter.limit(), before / 2);
  EXPECT_EQ(kept.limiter.why(), Limiter::Why::failure);
  kept.limiter.left(kept.now);
  kept.most = 1;
  kept.run(200);
  EXPECT_LE(kept.most, before - 1);
}

TEST(Limiter, AtTheLimitForHalfAnHourItLooksWhatIsFastest) {
  Kept kept([](double n) { return std::max(10.0, 2.5 * n); });
  bool looked = false;
  for (int i = 0; i < 2000 && !looked; ++i) {
    kept.run(1);
    looked = kept.limiter.why() == Limiter::Why::relearning;
  }
  EXPECT_TRUE(looked);
  const auto below = kept.limiter.limit();
  for (int i = 0; i < 50 && kept.limiter.limit() == below; ++i) kept.run(1);
  EXPECT_EQ(kept.limiter.limit(), below + 1);
}

TEST(Limiter, ANewProcessBeginsWithOne) {
  Kept kept(four_wide);
  kept.run(60);
  kept.limiter.restart(kept.now);
  EXPECT_EQ(kept.limiter.limit(), 1U);
  EXPECT_EQ(kept.limiter.in_flight(), 0U);
}

}  // namespace
}  // namespace gpuward
