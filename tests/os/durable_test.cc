#include "os/durable.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <gtest/gtest.h>
#include <vector>

#include "os/fd.h"
#include "support/temp_folder.h"

namespace {

// What this program asked the kernel for, in order; see the functions below.
std::vector<std::string> g_calls;
bool g_disk_fails = false;

}  // namespace

// The C library's are called by nobody else in this program.
extern "C" int fdatasync(int fd) {
  g_calls.emplace_back("fdatasync");
  if (g_disk_fails) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}
extern "C" int fsync(int fd) {
  struct stat info{};
  g_calls.emplace_back(::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) ? "fsync folder" : "fsync");
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
extern "C" int rename(const char* from, const char* to) noexcept {
  g_calls.emplace_back("rename");
  return static_cast<int>(::syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to));
}

namespace gpuward::os {
namespace {

Result<void> replace(const std::string& path, std::string_view text) {
  return replace_file_durably(path, std::as_bytes(std::span(text)), 0600);
}

TEST(ReplaceFileDurably, SyncsTheFileBeforeItsNameAndTheFolderAfter) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/book";
  g_calls.clear();
  ASSERT_TRUE(replace(path, "one"));
  EXPECT_EQ(g_calls, (std::vector<std::string>{"fdatasync", "rename", "fsync folder"}));
  ASSERT_TRUE(replace(path, "two"));
  EXPECT_EQ(read_file(path, 100).value(), "two");
}

TEST(ReplaceFileDurably, WhatIsNotOnTheDiskReplacesNothing) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/book";
  ASSERT_TRUE(replace(path, "one"));
  g_disk_fails = true;
  const auto replaced = replace(path, "two");
  g_disk_fails = false;
  EXPECT_EQ(replaced.error().code.value(), EIO);
  EXPECT_EQ(read_file(path, 100).value(), "one");
  ASSERT_TRUE(replace(path, "three")) << "what a failed try left is in nobody's way";
}

}  // namespace
}  // namespace gpuward::os
