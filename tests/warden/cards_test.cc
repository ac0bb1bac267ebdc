#include "warden/cards.h"

#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace gpuward::warden {
namespace {

using std::chrono::seconds;

const Instant kBegin{std::chrono::hours(1)};

// Cards over a book on the disk; a clerk that was never opened keeps nothing.
class CardsTest : public ::testing::Test {
 protected:
  CardsTest() { cards_.open(); }

  void look(GpuState state, Duration during) {
    GpuSnapshot snapshot;
    snapshot.sight = GpuSight::visible;
    snapshot.devices.resize(1);
    snapshot.devices[0].uuid = "GPU-a";
    snapshot.devices[0].state = state;
    for (const Instant end = now_ + during; now_ < end; now_ += seconds(1))
      cards_.see(snapshot, now_);
  }
  const CardMark& mark() const { return cards_.marks().at(0); }

  tests::TempFolder folder_;
  std::string path_ = folder_.path() + "/cards";
  asio::io_context loop_;
  Clerk clerk_{loop_};
  Cards cards_{path_, clerk_};
  Instant now_ = kBegin;
};

TEST_F(CardsTest, UncordonedWhileItsTroubleLastsNeedsTheSameRemedyAgain) {
  look(GpuState::reset_required, seconds(5));
  ASSERT_TRUE(mark().quarantined);
  for (int again = 0; again < 3; ++again) {
    ASSERT_TRUE(cards_.uncordon(*cards_.choose("0")));
    ASSERT_FALSE(mark().quarantined);
    look(GpuState::reset_required, seconds(5));
    EXPECT_TRUE(mark().quarantined);
    EXPECT_EQ(mark().remedy, CardRemedy::reset);
  }
}

TEST_F(CardsTest, WhatComesBackAfterItWasWellTakesTheNextStep) {
  look(GpuState::reset_required, seconds(5));
  look(GpuState::ok, seconds(2));
  ASSERT_TRUE(cards_.uncordon(*cards_.choose("0")));
  look(GpuState::ok, seconds(2));
  look(GpuState::reset_required, seconds(5));
  EXPECT_EQ(mark().remedy, CardRemedy::reboot);
}

}  // namespace
}  // namespace gpuward::warden
