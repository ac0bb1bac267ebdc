#include "os/fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <gtest/gtest.h>
#include <string>

#include "child.h"

namespace gpuward::os {
namespace {

bool is_open(int number) {
  return ::fcntl(number, F_GETFD) >= 0;
}

TEST(Fd, MoveAssignmentClosesTheOldDescriptor) {
  auto one = Fd::open("/dev/null", O_RDONLY);
  auto two = Fd::open("/dev/null", O_RDONLY);
  ASSERT_TRUE(one && two);
  const int first = one->get();
  const int second = two->get();
  *one = std::move(*two);
  EXPECT_FALSE(is_open(first));
  EXPECT_TRUE(is_open(second));
  EXPECT_EQ(one->get(), second);
  EXPECT_FALSE(*two);
  Fd& same = *one;
  *one = std::move(same);
  EXPECT_TRUE(is_open(second)) << "moved onto itself";
  one->close();
  EXPECT_FALSE(is_open(second));
}

TEST(Fd, ClosesAtTheEndUnlessReleased) {
  int number = -1;
  {
    auto fd = Fd::open("/dev/null", O_RDONLY);
    number = fd->get();
  }
  EXPECT_FALSE(is_open(number));
  {
    auto fd = Fd::open("/dev/null", O_RDONLY);
    number = fd->release();
  }
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(Fd, EveryDescriptorIsCloseOnExec) {
  const TempFolder folder;
  const auto opened = Fd::open("/dev/null", O_RDONLY);
  const auto pipe = make_pipe();
  const auto copy = opened->duplicate();
  ASSERT_TRUE(opened && pipe && copy);
  EXPECT_GE(copy->get(), 3);
  for (const int number :
       {opened->get(), pipe->read.get(), pipe->write.get(), copy->get(), folder.dir().get()})
    EXPECT_EQ(::fcntl(number, F_GETFD), FD_CLOEXEC);
}

TEST(Fd, AnErrorNamesTheFile) {
  const auto fd = Fd::open("/nowhere/at/all", O_RDONLY);
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().message(), "open '/nowhere/at/all': No such file or directory");
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(ReplaceFile, LeavesTheNewWhole) {
  const TempFolder folder;
  ASSERT_TRUE(replace_file_at(folder.dir(), "record", bytes_of("a long first record"), 0600));
  ASSERT_TRUE(replace_file_at(folder.dir(), "record", bytes_of("second"), 0600));
  EXPECT_EQ(*read_regular_at(folder.dir(), "record"), "second");
  struct stat info{};
  EXPECT_LT(::fstatat(folder.dir().get(), "record.new", &info, 0), 0)
      << "nothing is left beside it";
  ASSERT_EQ(::fstatat(folder.dir().get(), "record", &info, 0), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST(ReplaceFile, LeavesTheOldWholeWhenItFails) {
  const TempFolder folder;
  ASSERT_TRUE(replace_file_at(folder.dir(), "record", bytes_of("old"), 0600));
  // No file may grow beyond two bytes: the write fails in the middle, as on a full disk.
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit tiny{2, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const auto replaced = replace_file_at(folder.dir(), "record", bytes_of("new"), 0600);
  ::signal(SIGXFSZ, handler);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(replaced);
  EXPECT_EQ(replaced.error().code.value(), EFBIG);
  EXPECT_EQ(*read_regular_at(folder.dir(), "record"), "old");
}

TEST(ReplaceFile, WritesThroughNoLinkThatSomebodyLaidThere) {
  const TempFolder folder;
  ASSERT_TRUE(replace_file_at(folder.dir(), "victim", bytes_of("untouched"), 0600));
  ASSERT_EQ(::symlinkat("victim", folder.dir().get(), "record.new"), 0);
  ASSERT_TRUE(replace_file_at(folder.dir(), "record", bytes_of("new"), 0600));
  EXPECT_EQ(*read_regular_at(folder.dir(), "victim"), "untouched");
  EXPECT_EQ(*read_regular_at(folder.dir(), "record"), "new");
}

TEST(ReplaceFile, AReaderOfTheOldFileKeepsIt) {
  const TempFolder folder;
  ASSERT_TRUE(replace_file_at(folder.dir(), "record", bytes_of("old"), 0600));
  const auto reader = Fd::open_at(folder.dir(), "record", O_RDONLY);
  ASSERT_TRUE(replace_file_at(folder.dir(), "record", bytes_of("new"), 0600));
  std::array<char, 8> buffer{};
  EXPECT_EQ(::read(reader->get(), buffer.data(), buffer.size()), 3);
  EXPECT_STREQ(buffer.data(), "old");
}

TEST(ReadFile, RefusesMoreThanItsLimit) {
  const TempFolder folder;
  ASSERT_TRUE(replace_file_at(folder.dir(), "file", bytes_of("12345678"), 0600));
  EXPECT_EQ(*read_file(folder.path() + "/file", 8), "12345678");
  const auto more = read_file(folder.path() + "/file", 7);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code.value(), EFBIG);
  EXPECT_TRUE(read_file("/proc/self/stat")) << "a file that says it is empty";
}

TEST(MakeDirectories, MakesEachPartAndAcceptsWhatIsThere) {
  const TempFolder folder;
  ASSERT_TRUE(make_directories(folder.path() + "/a/b/c", 0700));
  ASSERT_TRUE(make_directories(folder.path() + "/a/b/c/", 0700));
  ASSERT_TRUE(replace_file_at(folder.dir(), "file", bytes_of(""), 0600));
  EXPECT_FALSE(make_directories(folder.path() + "/file", 0700));
  EXPECT_FALSE(make_directories(folder.path() + "/file/below", 0700));
}

}  // namespace
}  // namespace gpuward::os
