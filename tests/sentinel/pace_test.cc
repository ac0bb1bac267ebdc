#include "sentinel/pace.h"

#include <gtest/gtest.h>

namespace gpuward::sentinel {
namespace {

using namespace std::chrono_literals;

constexpr Instant kBegin{1h};

TEST(Pace, OneLookASecondAndAtOnceForWhoeverAsks) {
  Pace pace;
  EXPECT_LE(pace.due(), kBegin);
  EXPECT_FALSE(pace.begin(kBegin));
  EXPECT_EQ(pace.due(), kBegin + 1s);
  pace.ask();
  EXPECT_LE(pace.due(), kBegin);
}

TEST(Pace, AnEventIsLookedAtSoonAndWithEverything) {
  Pace pace;
  (void)pace.begin(kBegin);
  pace.hear_event();
  EXPECT_EQ(pace.due(), kBegin + 200ms);
  EXPECT_TRUE(pace.begin(kBegin + 200ms));
  EXPECT_FALSE(pace.begin(kBegin + 1200ms)) << "once";
}

TEST(Pace, WhatWasLeftOpenIsLookedAtSoonAndNothingElseIs) {
  Pace pace;
  (void)pace.begin(kBegin);
  pace.look_soon();
  EXPECT_EQ(pace.due(), kBegin + 200ms);
  EXPECT_FALSE(pace.begin(kBegin + 200ms));
  EXPECT_EQ(pace.due(), kBegin + 1200ms);
}

TEST(Pace, AStormOfEventsIsFiveLooksASecondAndOneOfThemAtEverything) {
  Pace pace;
  int looks = 0;
  int full = 0;
  for (Instant now = kBegin; now < kBegin + 10s; now += 1ms) {
    pace.hear_event();
    if (now < pace.due()) continue;
    ++looks;
    full += pace.begin(now) ? 1 : 0;
  }
  EXPECT_EQ(looks, 50);
  EXPECT_EQ(full, 10);
}

TEST(Pace, ALookAtEverythingThatWasPutOffIsNotForgotten) {
  Pace pace;
  pace.hear_event();
  EXPECT_TRUE(pace.begin(kBegin));
  pace.hear_event();
  EXPECT_FALSE(pace.begin(kBegin + 200ms));
  EXPECT_EQ(pace.due(), kBegin + 1200ms);
  EXPECT_TRUE(pace.begin(kBegin + 1200ms));
}

}  // namespace
}  // namespace gpuward::sentinel
