#include "anchor/log_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

namespace gpuward::anchor {
namespace {

using namespace std::chrono_literals;

class LogFileTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gpuward-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { (void)!std::system(("rm -rf '" + folder_ + "'").c_str()); }

  std::string path(int number = 0) const {
    return folder_ + "/app.log" + (number == 0 ? "" : "." + std::to_string(number));
  }
  std::string text(int number = 0) const {
    return os::read_file(path(number), 16 << 20).value_or("(none)");
  }
  LogFile open(const LogPolicy& policy) {
    auto log = LogFile::open(path(), policy);
    EXPECT_TRUE(log) << log.error().message();
    return std::move(*log);
  }
  static LogPolicy policy(Bytes size, Bytes total) {
    LogPolicy made;
    made.size = size;
    made.total = total;
    return made;
  }

  std::string folder_;
  Instant now_{1h};
};

TEST_F(LogFileTest, BeginsANewFileBetweenTwoLines) {
  auto log = open(policy(Bytes{10}, Bytes{1000}));
  log.write("0123456789 half", now_);
  log.write(" a line\n", now_);
  log.write("next\n", now_);
  EXPECT_EQ(text(), "next\n");
  EXPECT_EQ(text(1), "0123456789 half a line\n");
  EXPECT_EQ(log.lost_bytes(), 0U);
}

TEST_F(LogFileTest, ALineWithoutAnEndIsCutInTheEnd) {
  auto log = open(policy(Bytes{10}, 100_MiB));
  const std::string piece(1 << 16, 'x');
  for (int n = 0; n < 40; ++n) log.write(piece, now_);
  EXPECT_EQ(text().size() + text(1).size() + (text(2) == "(none)" ? 0 : text(2).size()),
            40 * piece.size());
  EXPECT_NE(text(1), "(none)");
}

TEST_F(LogFileTest, KeepsTheNewestWithinTheTotal) {
  auto log = open(policy(Bytes{10}, Bytes{50}));
  for (int n = 0; n < 9; ++n) log.write("line " + std::to_string(n) + " ....\n", now_);
  EXPECT_EQ(text(), "line 8 ....\n");
  EXPECT_EQ(text(1), "line 7 ....\n");
  EXPECT_EQ(text(2), "line 6 ....\n");
  EXPECT_EQ(text(3), "line 5 ....\n");
  EXPECT_EQ(text(4), "(none)");
}

// "2026-01-31T09:30:00.123Z " in front of each line of @p text, as "T ".
std::string without_times(const std::string& text) {
  constexpr std::string_view kLike = "20dd-dd-ddTdd:dd:dd.dddZ ";
  std::string rest;
  for (std::size_t at = 0; at < text.size();) {
    const auto line = std::string_view(text).substr(at, text.find('\n', at) - at + 1);
    const bool timed = line.size() >= kLike.size() &&
                       std::equal(kLike.begin(), kLike.end(), line.begin(), [](char like, char c) {
                         return like == 'd' ? c >= '0' && c <= '9' : like == c;
                       });
    rest += timed ? "T " : "";
    rest += line.substr(timed ? kLike.size() : 0);
    at += line.size();
  }
  return rest;
}

TEST_F(LogFileTest, EachLineMayBeginWithItsTime) {
  auto with_times = policy(1_MiB, 10_MiB);
  with_times.times = true;
  auto log = open(with_times);
  log.write("one\ntwo", now_);
  log.write(" goes on\n\nlast\n", now_);
  EXPECT_EQ(without_times(text()), "T one\nT two goes on\nT \nT last\n");
}

TEST_F(LogFileTest, TimesStandWhereverALongPieceIsCut) {
  auto with_times = policy(1_MiB, 10_MiB);
  with_times.times = true;
  auto log = open(with_times);
  std::string all;
  for (int n = 0; n < 3000; ++n) all += "line " + std::to_string(n) + "\n";
  log.write(all + std::string(9000, 'x') + "\n", now_);
  std::string expected;
  for (int n = 0; n < 3000; ++n) expected += "T line " + std::to_string(n) + "\n";
  EXPECT_EQ(without_times(text()), expected + "T " + std::string(9000, 'x') + "\n");
  EXPECT_EQ(log.lost_bytes(), 0U);
}

TEST_F(LogFileTest, KnowsWhereALineEndsThatOthersFollow) {
  for (const bool times : {false, true}) {
    auto chosen = policy(1_MiB, 10_MiB);
    chosen.times = times;
    ::unlink(path().c_str());
    auto log = open(chosen);
    log.write("before\nthe line\nafter\nmore", now_);
    const auto end = log.end_before("\nafter\nmore");
    EXPECT_EQ(text().substr(end - 8, 8), "the line") << times;
  }
}

TEST_F(LogFileTest, WhatIsTooOldGoesAtTheNextBeginning) {
  auto log = open(policy(Bytes{10}, Bytes{1000}));
  for (int n = 0; n < 4; ++n) log.write("line " + std::to_string(n) + " ....\n", now_);
  const timespec old[2] = {{std::time(nullptr) - 15 * 86400, 0},
                           {std::time(nullptr) - 15 * 86400, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path(2).c_str(), old, 0), 0);
  const auto again = open(policy(Bytes{10}, Bytes{1000}));
  EXPECT_EQ(text(1), "line 2 ....\n");
  EXPECT_EQ(text(2), "(none)");
  EXPECT_EQ(text(3), "(none)") << "older still";
}

TEST_F(LogFileTest, GoesOnInANewFileWhenSomebodyMovedOrDeletedIt) {
  auto log = open({});
  log.write("one\n", now_);
  ASSERT_EQ(::rename(path().c_str(), (folder_ + "/elsewhere").c_str()), 0);
  log.write("two\n", now_ + 2s);
  ASSERT_EQ(::unlink(path().c_str()), 0);
  log.write("three\n", now_ + 4s);
  EXPECT_EQ(text(), "three\n");
  EXPECT_EQ(os::read_file(folder_ + "/elsewhere").value_or(""), "one\n");
}

TEST_F(LogFileTest, WhatComesFasterThanItsRateIsCountedInLines) {
  LogPolicy fast;
  fast.rate = 100_KiB;
  auto log = open(fast);
  const std::string line(1023, 'x');
  for (int n = 0; n < 300; ++n) log.write(line + "\n", now_);
  log.write("after\n", now_ + 10s);
  EXPECT_EQ(log.lost_bytes(), 200U << 10);
  EXPECT_NE(text().find("200 lines (204800 bytes) of output are missing here: they came faster"),
            std::string::npos);
  EXPECT_TRUE(text().ends_with("after\n"));
}

TEST_F(LogFileTest, TheRateLeavesOutWholeLines) {
  LogPolicy fast;
  fast.rate = 1_KiB;
  auto log = open(fast);
  const std::string most(65 << 10, 'x');
  log.write("first\n", now_);
  log.write(most, now_);
  log.write("the end of a long line\nnot allowed\n", now_);
  log.write("after\n", now_ + 100s);
  EXPECT_EQ(text().find("the end of"), std::string::npos);
  EXPECT_TRUE(text().starts_with("first\n"));
  EXPECT_TRUE(text().ends_with("after\n"));
}

TEST_F(LogFileTest, AFullDiskIsSaidOnceThereIsRoom) {
  auto log = LogFile::open("/dev/full", {});
  ASSERT_TRUE(log);
  log->write("gone\n", now_);
  EXPECT_EQ(log->lost_bytes(), 5U);
}

TEST_F(LogFileTest, AFifoIsRefused) {
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_FALSE(LogFile::open(path(), {}));
}

}  // namespace
}  // namespace gpuward::anchor
