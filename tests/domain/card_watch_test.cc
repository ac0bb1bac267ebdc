#include "domain/card_watch.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

const Instant kStart{1000s};

GpuDevice card(std::uint32_t index, GpuState state = GpuState::ok, std::int64_t read_ns = 5) {
  GpuDevice device;
  device.index = index;
  device.name = "card " + std::to_string(index);
  device.state = state;
  device.read_ns = read_ns;
  device.processes_visible = state == GpuState::ok;
  return device;
}

GpuSnapshot look(GpuSight sight, std::vector<GpuDevice> devices) {
  GpuSnapshot snapshot;
  snapshot.sight = sight;
  snapshot.devices = std::move(devices);
  return snapshot;
}

GpuSnapshot hang_in(std::uint32_t suspect, std::uint32_t cards) {
  auto snapshot = look(GpuSight::hung, {});
  for (std::uint32_t n = 0; n < cards; ++n)
    snapshot.devices.push_back(card(n, n == suspect ? GpuState::suspect : GpuState::ok));
  return snapshot;
}

TEST(CardWatch, PassesOnWhatAllCardsSay) {
  CardWatch watch;
  EXPECT_FALSE(watch.see(look(GpuSight::visible, {card(0), card(1)}), kStart));
  EXPECT_EQ(watch.merged().devices.size(), 2U);
  EXPECT_EQ(watch.merged().sight, GpuSight::visible);
  EXPECT_TRUE(watch.out().empty());
  EXPECT_EQ(watch.due(kStart + 1h), std::nullopt);
  EXPECT_EQ(watch.next_due(), Instant::max());
}

TEST(CardWatch, LeavesOutTheCardThatHangsAndKeepsItsNumbers) {
  CardWatch watch;
  (void)watch.see(look(GpuSight::visible, {card(0), card(1), card(2)}), kStart);
  EXPECT_TRUE(watch.see(hang_in(1, 3), kStart));
  EXPECT_EQ(watch.out(), std::vector<std::uint32_t>{1});
  EXPECT_FALSE(watch.see(look(GpuSight::visible, {card(0), card(2)}), kStart));
  const auto merged = watch.merged();
  EXPECT_EQ(merged.sight, GpuSight::visible) << "the others are seen";
  ASSERT_EQ(merged.devices.size(), 3U);
  EXPECT_EQ(merged.devices[1].index, 1U);
  EXPECT_EQ(merged.devices[1].state, GpuState::suspect);
  EXPECT_EQ(merged.devices[1].name, "card 1");
  EXPECT_FALSE(merged.devices[1].processes_visible) << "an old list is no proof of anything";
  EXPECT_TRUE(merged.devices[2].processes_visible);
}

TEST(CardWatch, AFreshSentinelThatHangsAtOnceDoesNotForgetTheNumbers) {
  CardWatch watch;
  (void)watch.see(look(GpuSight::visible, {card(0), card(1)}), kStart);
  auto first = look(GpuSight::hung, {card(1, GpuState::suspect, 0)});
  first.devices[0].name.clear();
  EXPECT_TRUE(watch.see(first, kStart));
  ASSERT_EQ(watch.merged().devices.size(), 2U);
  EXPECT_EQ(watch.merged().devices[1].name, "card 1");
  EXPECT_EQ(watch.merged().devices[1].read_ns, 5);
  EXPECT_EQ(watch.merged().devices[1].state, GpuState::suspect);
}

TEST(CardWatch, TheOnlyCardThatHangsIsAHungSight) {
  CardWatch watch;
  EXPECT_TRUE(watch.see(hang_in(0, 1), kStart));
  EXPECT_FALSE(watch.see(look(GpuSight::visible, {}), kStart));
  EXPECT_EQ(watch.merged().sight, GpuSight::hung);
  EXPECT_EQ(watch.merged().devices.size(), 1U);
}

TEST(CardWatch, ACallAboutNoCardLeavesNoneOut) {
  CardWatch watch;
  EXPECT_TRUE(watch.see(
      look(GpuSight::hung, {card(0, GpuState::suspect), card(1, GpuState::suspect)}), kStart));
  EXPECT_TRUE(watch.out().empty());
  EXPECT_EQ(watch.merged().devices[0].state, GpuState::suspect);
}

TEST(CardWatch, AFreshSentinelForgetsNoCardThatItDidNotComeTo) {
  CardWatch watch;
  (void)watch.see(look(GpuSight::visible, {card(0), card(1)}), kStart);
  EXPECT_FALSE(watch.see(look(GpuSight::unknown, {}), kStart)) << "it is still waking them";
  EXPECT_EQ(watch.merged().sight, GpuSight::visible);
  EXPECT_EQ(watch.merged().devices.size(), 2U);
  EXPECT_TRUE(watch.see(look(GpuSight::hung, {}), kStart)) << "in a call about no card";
  auto merged = watch.merged();
  ASSERT_EQ(merged.devices.size(), 2U);
  EXPECT_EQ(merged.devices[0].state, GpuState::suspect);
  EXPECT_EQ(merged.devices[0].name, "card 0");
  EXPECT_TRUE(watch.see(look(GpuSight::hung, {card(0, GpuState::suspect, 0)}), kStart));
  merged = watch.merged();
  ASSERT_EQ(merged.devices.size(), 2U);
  EXPECT_EQ(merged.devices[1].state, GpuState::ok) << "nothing speaks against it";
  EXPECT_FALSE(merged.devices[1].processes_visible);
}

TEST(CardWatch, TriesASuspectAgainAtGrowingPausesUpToALongestOne) {
  CardWatch watch;
  (void)watch.see(hang_in(1, 2), kStart);
  Instant now = kStart;
  auto pause = CardWatch::kFirstPause;
  for (int n = 0; n < 12; ++n) {
    EXPECT_EQ(watch.due(now + pause - 1ns), std::nullopt);
    EXPECT_EQ(watch.next_due(), now + pause);
    now += pause;
    EXPECT_EQ(watch.due(now), 1U);
    watch.begin_try(1);
    EXPECT_EQ(watch.due(now + 1h), std::nullopt) << "one try at a time";
    const auto seen = n % 2 == 0 ? std::optional<GpuSnapshot>()
                                 : look(GpuSight::hung, {card(1, GpuState::suspect)});
    EXPECT_FALSE(watch.end_try(1, seen, now));
    pause = std::min(pause * 2, CardWatch::kLongestPause);
  }
  EXPECT_EQ(pause, CardWatch::kLongestPause);
}

TEST(CardWatch, ACardThatAnswersIsWellEvenIfItSaysThatItIsLost) {
  CardWatch watch;
  (void)watch.see(hang_in(0, 2), kStart);
  (void)watch.see(look(GpuSight::visible, {card(1)}), kStart);
  watch.begin_try(0);
  EXPECT_TRUE(watch.end_try(0, look(GpuSight::visible, {card(0, GpuState::lost)}), kStart + 5s));
  EXPECT_TRUE(watch.out().empty());
  const auto merged = watch.merged();
  ASSERT_EQ(merged.devices.size(), 2U);
  EXPECT_EQ(merged.devices[0].state, GpuState::lost) << "shown before the next look at all";
}

TEST(CardWatch, ASuspectThatIsTakenOutIsNoSuspectForEver) {
  CardWatch watch;
  (void)watch.see(hang_in(1, 2), kStart);
  (void)watch.see(look(GpuSight::visible, {card(0)}), kStart);
  watch.begin_try(1);
  EXPECT_FALSE(watch.end_try(1, look(GpuSight::failed, {}), kStart + 5s)) << "that says nothing";
  ASSERT_EQ(watch.merged().devices.size(), 2U);
  watch.begin_try(1);
  EXPECT_TRUE(watch.end_try(1, look(GpuSight::visible, {}), kStart + 15s));
  EXPECT_TRUE(watch.out().empty());
  ASSERT_EQ(watch.merged().devices.size(), 1U);
  // Nor does a driver that hangs later bring it back.
  (void)watch.see(look(GpuSight::visible, {card(0)}), kStart + 16s);
  EXPECT_TRUE(watch.see(look(GpuSight::hung, {}), kStart + 17s));
  ASSERT_EQ(watch.merged().devices.size(), 1U);
  EXPECT_EQ(watch.merged().devices[0].index, 0U);
}

TEST(CardWatch, ACardThatIsTakenOutWhileItIsWellIsNotSuspectedLater) {
  CardWatch watch;
  (void)watch.see(look(GpuSight::visible, {card(0), card(1)}), kStart);
  (void)watch.see(look(GpuSight::visible, {card(0)}), kStart + 1s);
  EXPECT_TRUE(watch.see(look(GpuSight::hung, {}), kStart + 2s));
  EXPECT_EQ(watch.merged().devices.size(), 1U);
}

TEST(CardWatch, WhatWasSeenLastGetsOldWithTheSentinel) {
  CardWatch watch;
  auto seen = look(GpuSight::visible, {card(0)});
  seen.events.emplace_back();
  (void)watch.see(seen, kStart);
  watch.lose_sight("gpuward-sentinel does not run", kStart + 1s);
  const auto merged = watch.merged();
  EXPECT_EQ(merged.sight, GpuSight::failed);
  EXPECT_EQ(merged.detail, "gpuward-sentinel does not run");
  ASSERT_EQ(merged.devices.size(), 1U);
  EXPECT_FALSE(merged.devices[0].processes_visible);
  EXPECT_EQ(merged.devices[0].read_ns, 5);
  EXPECT_TRUE(merged.events.empty()) << "an event is told once";
}

}  // namespace
}  // namespace gpuward
