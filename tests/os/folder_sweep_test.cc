#include "os/folder_sweep.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

#include "child.h"

namespace gpuward::os {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::int64_t kFuture = 1LL << 40;  // everything is unused since then

class FolderSweepTest : public testing::Test {
 protected:
  std::string path() const { return root_.path() + "/folder"; }
  void SetUp() override { ASSERT_TRUE(fs::create_directory(path())); }
  Fd folder() const {
    auto dir = Fd::open(path(), O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(dir);
    return dir ? std::move(*dir) : Fd();
  }
  static void write(const std::string& file, const std::string& text = "x") {
    std::ofstream(file) << text;
  }
  static FolderSweep::Tally finish(FolderSweep sweep) {
    for (int turns = 0; sweep.step(64, 1s); ++turns)
      if (turns > 100'000) ADD_FAILURE() << "it does not end";
    return sweep.tally();
  }
  FolderSweep::Tally remove_unused(std::int64_t since = kFuture) const {
    return finish(FolderSweep::of_unused(folder(), since, nullptr));
  }

  TempFolder root_;
};

TEST_F(FolderSweepTest, TakesNoMoreThanItIsAllowedInOneTurn) {
  constexpr int kFiles = 5000;
  for (int n = 0; n < kFiles; ++n) write(path() + "/file" + std::to_string(n));
  FolderSweep sweep = FolderSweep::of_all(folder());
  int turns = 0;
  std::uint64_t before = 0;
  for (bool more = true; more; ++turns) {
    more = sweep.step(100, 10s);
    EXPECT_LE(sweep.tally().files - before, 300U) << "one piece of a list may come on top";
    before = sweep.tally().files;
    ASSERT_LT(turns, kFiles);
  }
  EXPECT_GE(turns, kFiles / 300);
  EXPECT_EQ(before, kFiles);
  EXPECT_TRUE(fs::is_empty(path()));
}

TEST_F(FolderSweepTest, WithoutPatienceItDoesNothingAndGoesOnLater) {
  write(path() + "/file");
  FolderSweep sweep = FolderSweep::of_all(folder());
  EXPECT_TRUE(sweep.step(100, 0us));
  EXPECT_TRUE(fs::exists(path() + "/file"));
  EXPECT_EQ(finish(std::move(sweep)).files, 1U);
}

TEST_F(FolderSweepTest, RemovesWhatIsNestedDeeperThanItHoldsFoldersOpen) {
  std::string deep = path();
  for (int n = 0; n < 300; ++n) {
    deep += "/d";
    ASSERT_TRUE(fs::create_directory(deep));
    write(deep + "/film");
  }
  const auto tally = finish(FolderSweep::of_all(folder()));
  EXPECT_FALSE(tally.trouble) << tally.trouble->message();
  EXPECT_TRUE(fs::is_empty(path()));
}

TEST_F(FolderSweepTest, RemovesAHostileTreeAndNothingThatItPointsTo) {
  write(root_.path() + "/innocent");
  fs::create_directory(root_.path() + "/innocents");
  write(root_.path() + "/innocents/file");
  fs::create_symlink(root_.path() + "/innocents", path() + "/link");
  fs::create_symlink("..", path() + "/up");
  fs::create_hard_link(root_.path() + "/innocent", path() + "/hard");
  ASSERT_EQ(::mkfifo((path() + "/fifo").c_str(), 0600), 0);
  fs::create_directories(path() + "/closed/inner");
  write(path() + "/closed/inner/file");
  ASSERT_EQ(::chmod((path() + "/closed/inner").c_str(), 0500), 0);
  ASSERT_EQ(::chmod((path() + "/closed").c_str(), 0), 0);
  for (int n = 0; n < 300; ++n)
    fs::create_directories(path() + "/many/" + std::to_string(n) + "/x");
  const auto tally = finish(FolderSweep::of_all(folder()));
  EXPECT_FALSE(tally.trouble) << tally.trouble->message();
  EXPECT_TRUE(fs::is_empty(path()));
  EXPECT_TRUE(fs::exists(root_.path() + "/innocent"));
  EXPECT_TRUE(fs::exists(root_.path() + "/innocents/file"));
}

TEST_F(FolderSweepTest, OnlyFilesThatNobodyHasUsedGoForTheirAge) {
  fs::create_directory(path() + "/inner");
  write(path() + "/film", "12345");
  write(path() + "/inner/film", "123");
  write(root_.path() + "/innocent");
  fs::create_symlink(root_.path() + "/innocent", path() + "/link");
  ASSERT_EQ(::mkfifo((path() + "/fifo").c_str(), 0600), 0);
  const auto now = std::time(nullptr);
  const auto young = remove_unused(now - 3600);
  EXPECT_EQ(young.files, 0U);
  EXPECT_NEAR(static_cast<double>(young.oldest_kept_s), static_cast<double>(now), 60);
  const auto old = remove_unused();
  EXPECT_EQ(old.files, 2U);
  EXPECT_EQ(old.bytes, Bytes{8});
  EXPECT_EQ(old.oldest_kept_s, 0);
  EXPECT_FALSE(old.trouble);
  for (const char* stays : {"/inner", "/link", "/fifo"})
    EXPECT_TRUE(fs::symlink_status(path() + stays).type() != fs::file_type::not_found) << stays;
  EXPECT_TRUE(fs::exists(root_.path() + "/innocent"));
}

TEST_F(FolderSweepTest, EachOfTheThreeTimesSpeaksForAFile) {
  const auto file = path() + "/film";
  write(file);
  const auto now = std::time(nullptr);
  const auto set = [&](std::int64_t read, std::int64_t written) {
    const timespec times[] = {{read, 0}, {written, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  };
  set(now + 5000, now - 5000);
  EXPECT_EQ(remove_unused(now + 1000).files, 0U) << "it was read";
  set(now - 5000, now + 5000);
  EXPECT_EQ(remove_unused(now + 1000).files, 0U) << "it was written";
  set(now - 5000, now - 5000);
  EXPECT_EQ(remove_unused(now - 1000).files, 0U) << "it was changed: utimensat does that";
  EXPECT_EQ(remove_unused(now + 1000).files, 1U);
}

TEST_F(FolderSweepTest, WhatSomebodyHoldsOpenStays) {
  const auto held = path() + "/held";
  const auto mapped = path() + "/mapped";
  write(held);
  write(mapped, std::string(4096, 'x'));
  auto open = Fd::open(held, O_RDONLY);
  ASSERT_TRUE(open);
  if (::fcntl(open->get(), F_SETLEASE, F_WRLCK) < 0)
    GTEST_SKIP() << "no leases on this file system";
  ASSERT_EQ(::fcntl(open->get(), F_SETLEASE, F_UNLCK), 0);
  void* place = nullptr;
  {
    auto file = Fd::open(mapped, O_RDONLY);
    ASSERT_TRUE(file);
    place = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file->get(), 0);
    ASSERT_NE(place, MAP_FAILED);
  }
  EXPECT_EQ(remove_unused().files, 0U);
  open->close();
  ::munmap(place, 4096);
  EXPECT_EQ(remove_unused().files, 2U);
}

TEST_F(FolderSweepTest, AFolderThatIsMovedOutMeanwhileIsLeftAlone) {
  fs::create_directory(path() + "/inner");
  for (int n = 0; n < 500; ++n) write(path() + "/inner/" + std::to_string(n));
  FolderSweep sweep = FolderSweep::of_unused(folder(), kFuture, nullptr);
  while (sweep.tally().files == 0) ASSERT_TRUE(sweep.step(1, 1s));
  fs::rename(path() + "/inner", root_.path() + "/elsewhere");
  const auto before = sweep.tally().files;
  EXPECT_EQ(finish(std::move(sweep)).files, before);
  EXPECT_FALSE(fs::is_empty(root_.path() + "/elsewhere"));
}

TEST_F(FolderSweepTest, AsItsUserItRemovesOnlyWhatThatOneMay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::create_directory(path() + "/foreign");
  write(path() + "/foreign/file");
  write(path() + "/own");
  ASSERT_EQ(::chown(path().c_str(), 65534, 65534), 0);
  ASSERT_EQ(::chown((path() + "/own").c_str(), 65534, 65534), 0);
  ASSERT_EQ(::chmod(root_.path().c_str(), 0755), 0);
  const FolderSweep::User nobody{65534, 65534};
  const auto tally = finish(FolderSweep::of_unused(folder(), kFuture, &nobody));
  EXPECT_EQ(tally.files, 1U);
  EXPECT_TRUE(tally.trouble);
  EXPECT_TRUE(fs::exists(path() + "/foreign/file"));
  EXPECT_EQ(::geteuid(), 0U);
  write(path() + "/after");  // and whoever it was before can go on as such
  EXPECT_TRUE(fs::exists(path() + "/after"));
}

}  // namespace
}  // namespace gpuward::os
