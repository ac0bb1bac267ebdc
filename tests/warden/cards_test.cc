#include "warden/cards.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "control/books.h"
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

TEST_F(CardsTest, ACardThatTheDriverListsNoMoreIsOnRecordOnce) {
  std::vector<LedgerEntry> told;
  clerk_.on_entry([&](const LedgerEntry& entry) { told.push_back(entry); });
  look(GpuState::suspect, seconds(2));
  GpuSnapshot none;
  none.sight = GpuSight::failed;  // says nothing of any card
  cards_.see(none, now_);
  EXPECT_TRUE(told.empty());
  look(GpuState::suspect, seconds(1));
  none.sight = GpuSight::no_gpu;
  for (int again = 0; again < 3; ++again) cards_.see(none, now_);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].kind, EventKind::card_gone);
  EXPECT_EQ(told[0].why, "GPU 0 (GPU-a)");
  EXPECT_EQ(told[0].evidence, "the driver lists it no more; it was suspect");
}

// As by a warden that had no descriptor left when it began: here a link, which it does not follow.
TEST(CardsBook, OneThatCouldNotBeReadIsNeitherTouchedAtTheStartNorWrittenOver) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/cards";
  CardBook book;
  book.marks.resize(1);
  book.marks[0].uuid = "GPU-a";
  book.marks[0].cordoned = true;
  ASSERT_TRUE(control::write_book(path + ".real", book));
  ASSERT_EQ(::symlink((path + ".real").c_str(), path.c_str()), 0);
  asio::io_context loop;
  Clerk clerk(loop);
  Cards cards(path, clerk);
  cards.open();
  struct stat info{};
  ASSERT_EQ(::lstat(path.c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode)) << "an empty book was written over it";
  cards.is_on("xray", 7, {"GPU-b"});
  ASSERT_EQ(::lstat((path + ".unread").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  EXPECT_EQ(control::read_book<CardBook>(path)->services.size(), 1U);
}

}  // namespace
}  // namespace gpuward::warden
