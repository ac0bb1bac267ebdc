#include "os/kmsg.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "support/temp_folder.h"

namespace gpuward::os {
namespace {

using Lines = std::vector<std::string>;

std::string text_of(std::string_view record) {
  std::array<char, 200> buffer{};
  const auto parsed = parse_kmsg_record(record, buffer);
  return parsed ? std::string(parsed->text) : "(none)";
}

TEST(KmsgRecord, IsTakenApart) {
  std::array<char, 200> buffer{};
  const auto record =
      parse_kmsg_record("4,812,54893042,-;NVRM: hello\n SUBSYSTEM=pci\n DEVICE=+pci:x\n", buffer);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->level, 4);
  EXPECT_TRUE(record->from_kernel);
  EXPECT_EQ(record->sequence, 812U);
  EXPECT_EQ(record->since_boot.count(), 54893042);
  EXPECT_EQ(record->text, "NVRM: hello");
}

TEST(KmsgRecord, WhatAProgramWroteIsNotTheKernels) {
  std::array<char, 200> buffer{};
  EXPECT_FALSE(parse_kmsg_record("12,1,2,-;hello", buffer)->from_kernel);  // facility 1: user
  EXPECT_TRUE(parse_kmsg_record("7,1,2,-;hello", buffer)->from_kernel);
}

TEST(KmsgRecord, EscapesAndLaterFields) {
  EXPECT_EQ(text_of("4,1,2,-;a\\x0ab\\x5c\\xzz\\x1"), "a\nb\\\\xzz\\x1");
  EXPECT_EQ(text_of("4,1,2,c,caller=T1;x;y"), "x;y");
  EXPECT_EQ(text_of("4,1,2,-;"), "");
}

TEST(KmsgRecord, WhatIsNone) {
  for (const auto* text : {"", "x", "4", "4,1", "4,1,2", "4,1,2,-", "4;1", "a,1,2,-;x", "4,,2,-;x",
                           "-4,1,2,-;x", "99999999999999999999999,1,2,-;x", "4,1,2,\n;x"})
    EXPECT_EQ(text_of(text), "(none)") << text;
}

TEST(KmsgRecord, ASmallBufferCuts) {
  std::array<char, 3> buffer{};
  EXPECT_EQ(parse_kmsg_record("4,1,2,-;abcdef", buffer)->text, "abc");
}

class KmsgFile : public testing::Test {
 protected:
  void write(const std::string& text) {
    const auto file = Fd::open(path_, O_WRONLY | O_APPEND | O_CREAT, 0600);
    ASSERT_TRUE(file);
    ASSERT_TRUE(write_all(*file, text, path_));
  }
  Kmsg open() {
    auto log = Kmsg::open(path_, Kmsg::From::boot);
    EXPECT_TRUE(log) << log.error().message();
    return std::move(*log);
  }
  // What comes, once the descriptor says that something has.
  static Lines news(Kmsg& log) {
    pollfd item{log.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&item, 1, 5000), 1);
    return rest(log);
  }
  static Lines rest(Kmsg& log) {
    Lines lines;
    for (;;) {
      auto entry = log.next();
      EXPECT_TRUE(entry);
      if (!entry || !*entry) return lines;
      lines.emplace_back((*entry)->text);
    }
  }

  tests::TempFolder folder_;
  std::string path_ = folder_.path() + "/kern.log";
};

TEST_F(KmsgFile, GivesWhatIsAppended) {
  write("old\n");
  auto log = open();
  EXPECT_EQ(log.kind(), Kmsg::Kind::file);
  EXPECT_EQ(rest(log), Lines{});
  write("one\ntw");
  EXPECT_EQ(news(log), Lines{"one"});
  write("o\n4,7,9,-;three\n");
  EXPECT_EQ(news(log), (Lines{"two", "three"}));
}

TEST_F(KmsgFile, IsAwaitedWhereItIsNotThere) {
  auto log = open();
  EXPECT_FALSE(log.is_there());
  EXPECT_EQ(rest(log), Lines{});
  write("first\n");
  EXPECT_EQ(news(log), Lines{"first"});
  EXPECT_TRUE(log.is_there());
}

TEST_F(KmsgFile, IsFollowedOverRotation) {
  write("old\n");
  auto log = open();
  write("last of the old\n");
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".1").c_str()), 0);
  write("first of the new\n");
  EXPECT_EQ(news(log), (Lines{"last of the old", "first of the new"}));
  write("second of the new\n");
  EXPECT_EQ(news(log), Lines{"second of the new"});
}

TEST_F(KmsgFile, IsFollowedWhenItIsCut) {
  write("a long line that is there\n");
  auto log = open();
  ASSERT_EQ(::truncate(path_.c_str(), 0), 0);
  write("new\n");
  EXPECT_EQ(news(log), Lines{"new"});
}

TEST_F(KmsgFile, ALineWithoutEndIsSkippedAndCounted) {
  write("");
  auto log = open();
  write(std::string(3 * Kmsg::kLongest, 'x'));
  EXPECT_EQ(news(log), Lines{});
  write("its end\nnext\n");
  EXPECT_EQ(news(log), Lines{"next"});
  EXPECT_EQ(log.lost(), 1U);
}

TEST_F(KmsgFile, AFifoOutlivesItsWriters) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  auto log = open();
  EXPECT_EQ(log.kind(), Kmsg::Kind::fifo);
  write("one\n");
  EXPECT_EQ(news(log), Lines{"one"});
  pollfd item{log.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&item, 1, 0), 0) << "its writer has left: that must not wake anybody";
  write("two\n");
  EXPECT_EQ(news(log), Lines{"two"});
}

TEST_F(KmsgFile, WithoutTheRightItIsAnErrorThatSaysSo) {
  write("x\n");
  ASSERT_EQ(::chmod(path_.c_str(), 0), 0);
  if (::access(path_.c_str(), R_OK) == 0 && ::geteuid() == 0) {
    GTEST_SKIP() << "root may read everything; test_kernel_log.py does it as another user";
  }
  const auto log = Kmsg::open(path_, Kmsg::From::boot);
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code.value(), EACCES);
}

// One answer of the kernel after the other: a record, or an errno.
struct Answer {
  const char* record;
  int error;
};
const Answer* next_answer = nullptr;
ssize_t answer(int fd, void* into, std::size_t size) {
  EXPECT_EQ(fd, -1);
  const Answer now = *next_answer;
  if (now.error == EAGAIN) {
    errno = EAGAIN;
    return -1;
  }
  ++next_answer;
  if (now.record == nullptr) {
    errno = now.error;
    return -1;
  }
  const std::size_t length = std::strlen(now.record);
  EXPECT_LE(length, size);
  std::memcpy(into, now.record, length);
  return static_cast<ssize_t>(length);
}

TEST(KmsgDevice, WhatWasOverwrittenIsCounted) {
  const Answer script[] = {{"6,10,1,-;a\n", 0}, {nullptr, EINTR},    {nullptr, EPIPE},
                           {"6,15,2,-;b\n", 0}, {"no record\n", 0},  {nullptr, EPIPE},
                           {nullptr, EPIPE},    {"6,17,3,-;c\n", 0}, {nullptr, EINVAL},
                           {"6,19,4,-;d\n", 0}, {nullptr, EAGAIN}};
  next_answer = script;
  auto log = Kmsg::device_for_test(answer);
  std::string texts;
  for (;;) {
    auto entry = log.next();
    ASSERT_TRUE(entry);
    if (!*entry) break;
    EXPECT_TRUE((*entry)->old);
    texts += (*entry)->text;
  }
  EXPECT_EQ(texts, "abcd");
  EXPECT_EQ(log.lost(), 4U + 1U + 1U);  // 11 to 14, 16, and the one that was too long
}

TEST(KmsgDevice, TheFirstThatIsReadIsNoLossAndAnErrorIsOne) {
  const Answer script[] = {{"6,500,1,-;a\n", 0}, {nullptr, EAGAIN}};
  next_answer = script;
  auto log = Kmsg::device_for_test(answer);
  EXPECT_TRUE(log.next()->has_value());
  EXPECT_FALSE(log.next()->has_value());
  EXPECT_EQ(log.lost(), 0U) << "what went before anybody read is not ours to miss";
  const Answer broken[] = {{"6,501,1,-;b\n", 0}, {nullptr, EIO}};
  next_answer = broken;
  EXPECT_FALSE((*log.next())->old) << "the kernel had nothing more: from here on it is news";
  EXPECT_EQ(log.next().error().code.value(), EIO);
}

TEST(KmsgDevice, WhoeverOpensItAgainGoesOnWhereTheLastOneWas) {
  const Answer first[] = {{"6,10,1,-;a\n", 0}, {"6,11,1,-;b\n", 0}, {nullptr, EIO}};
  next_answer = first;
  auto log = Kmsg::device_for_test(answer);
  EXPECT_FALSE(log.next_sequence());
  EXPECT_TRUE(log.next() && log.next());
  EXPECT_FALSE(log.next());
  ASSERT_EQ(log.next_sequence(), 12U);
  const Answer again[] = {
      {"6,10,1,-;a\n", 0}, {"6,11,1,-;b\n", 0}, {"6,12,1,-;c\n", 0}, {nullptr, EAGAIN}};
  next_answer = again;
  auto reopened = Kmsg::device_for_test(answer);
  reopened.go_on_from(*log.next_sequence());
  EXPECT_EQ((*reopened.next())->text, "c");
  EXPECT_FALSE(reopened.next()->has_value());
  EXPECT_EQ(reopened.lost(), 0U);
}

TEST(KmsgDevice, TheKernelsOwn) {
  auto log = Kmsg::open("/dev/kmsg", Kmsg::From::boot);
  if (!log) GTEST_SKIP() << "cannot be read here: " << log.error().message();
  ASSERT_EQ(log->kind(), Kmsg::Kind::device);
  std::size_t count = 0;
  for (;;) {
    auto entry = log->next();
    ASSERT_TRUE(entry);
    if (!*entry) break;
    EXPECT_TRUE((*entry)->old);
    EXPECT_TRUE((*entry)->whole_record);
    ++count;
  }
  EXPECT_GT(count, 0U);
  EXPECT_EQ(log->lost(), 0U);
  auto later = Kmsg::open("/dev/kmsg", Kmsg::From::now);
  ASSERT_TRUE(later);
  const auto none = later->next();
  ASSERT_TRUE(none);
  if (*none) {
    EXPECT_FALSE((**none).old);
  }
}

}  // namespace
}  // namespace gpuward::os
