#include "os/aside.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <gtest/gtest.h>

#include "os/clock.h"
#include "support/temp_folder.h"

namespace gpuward::os {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Aside, TheAnswerComesWhole) {
  const std::string long_one(200'000, 'x');
  const auto answer = run_aside([&] { return long_one; }, now() + seconds(10));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(*answer, long_one);
  EXPECT_EQ(run_aside([] { return std::string(); }, now() + seconds(10)).value_or("?"), "");
}

TEST(Aside, WhatHangsCostsTheDeadlineAndNoMore) {
  const auto begun = now();
  const auto answer = run_aside(
      [] {
        for (;;) ::pause();
        return std::string();
      },
      begun + milliseconds(100));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, make_error_code(Errc::timed_out));
  EXPECT_LT(now() - begun, seconds(5));
  // It was killed: it ends, and is the last child of this process.
  int status = 0;
  const pid_t ended = ::waitpid(-1, &status, 0);
  if (ended > 0) {  // else it had ended in time to be reaped
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(Aside, AChildThatDiesIsNoAnswer) {
  const auto answer = run_aside(
      [] {
        ::raise(SIGKILL);
        return std::string("never");
      },
      now() + seconds(10));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, make_error_code(Errc::unreachable));
  // Not waited for by whoever asked: it may have been a zombie already, or may become one.
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
}

TEST(Aside, SpaceIsThatOfTheNearestFolderThatExists) {
  const tests::TempFolder folder;
  const auto here = space_of(folder.path());
  const auto below = space_of(folder.path() + "/not/yet/made");
  ASSERT_TRUE(here && below);
  EXPECT_GT(here->size.count, 0U);
  EXPECT_LE(here->free, here->size);
  EXPECT_EQ(here->size, below->size);
  EXPECT_TRUE(space_of("/dev/shm/x")->in_memory);
}

}  // namespace
}  // namespace gpuward::os
