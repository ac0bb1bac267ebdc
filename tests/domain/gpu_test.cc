#include "domain/gpu.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

TEST(Reading, SaysWhyItIsNone) {
  const Reading<int> known(7, 5);
  EXPECT_TRUE(known);
  EXPECT_EQ(known.value_or(9), 7);
  EXPECT_EQ(known.maybe(), 7);
  EXPECT_EQ(known.read_ns, 5);
  const auto none = Reading<int>::none(Answer::no_permission, 6);
  EXPECT_FALSE(none);
  EXPECT_FALSE(none.blank()) << "somebody asked";
  EXPECT_EQ(none.value_or(9), 9);
  EXPECT_EQ(none.maybe(), std::nullopt);
  EXPECT_EQ(to_string(none.answer), "no_permission");
  EXPECT_TRUE(Reading<int>().blank());
}

TEST(RestartsBlocked, WhileTheDriverWasChangedUnderneath) {
  GpuSnapshot snapshot;
  for (const auto sight : {GpuSight::unknown, GpuSight::visible, GpuSight::no_library,
                           GpuSight::failed, GpuSight::hung, GpuSight::cut_off}) {
    snapshot.sight = sight;
    EXPECT_EQ(restarts_blocked(snapshot), "") << to_string(sight);
  }
  snapshot.sight = GpuSight::mismatch;
  EXPECT_NE(restarts_blocked(snapshot), "");
  // Whoever was connected before goes on seeing the cards.
  snapshot.sight = GpuSight::visible;
  snapshot.driver_changed = true;
  EXPECT_NE(restarts_blocked(snapshot), "");
}

TEST(AgeOf, IsNoneOfWhatWasNeverRead) {
  GpuDevice device;
  EXPECT_EQ(age_of(device, 1000), std::nullopt);
  device.read_ns = 400;
  EXPECT_EQ(age_of(device, 1000), std::chrono::nanoseconds(600));
}

TEST(Describe, TellsAContainerThatLostItsDevices) {
  const auto sentence = describe(GpuSight::cut_off, "nvmlInit_v2: code 999");
  EXPECT_NE(sentence.find("this container has lost its GPU devices"), std::string::npos);
  EXPECT_NE(sentence.find("code 999"), std::string::npos);
}

}  // namespace
}  // namespace gpuward
