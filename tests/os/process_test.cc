#include "os/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <gtest/gtest.h>
#include <thread>

#include "child.h"
#include "os/kernel.h"
#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

TEST(Process, HoldsARealChildSignalsItAndSeesItsEnd) {
  Child child;
  auto process = Process::open(child.pid());
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_EQ(process->pid(), child.pid());
  EXPECT_GT(process->id().start_ticks, 0U);
  EXPECT_TRUE(process->alive());
  EXPECT_TRUE(lives(process->id()));
  ASSERT_TRUE(process->signal(SIGTERM));
  ASSERT_TRUE(within([&] { return !process->alive(); }));
  EXPECT_FALSE(lives(process->id())) << "a zombie has a number, but no life";
  const int status = child.collect(0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  EXPECT_FALSE(process->alive());
  EXPECT_FALSE(lives(process->id()));
  const auto late = process->signal(SIGKILL);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code.value(), ESRCH);
}

TEST(Process, HoldsAChildOfOursThatHasAlreadyEnded) {
  const Pid pid{::fork()};
  if (pid.number == 0) ::_exit(7);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid.number), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(Process::open(pid)) << "whoever has the number now may be another";
  const auto child = Process::open_child(pid);
  ASSERT_TRUE(child) << child.error().message();
  EXPECT_EQ(child->pid(), pid);
  EXPECT_FALSE(child->alive());
  EXPECT_EQ(::waitpid(pid.number, nullptr, 0), pid.number);
}

TEST(Process, LivesOnWhenOnlyItsFirstThreadHasEnded) {
  const Pid pid{::fork()};
  if (pid.number == 0) {
    std::thread([] {
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit,
              0);  // of this thread alone: the leader becomes a zombie, the process does not
  }
  ASSERT_TRUE(within([&] { return read_stat(pid)->state == 'Z'; }));
  const auto stat = read_stat(pid);
  EXPECT_FALSE(stat->ended());
  EXPECT_TRUE(lives({pid, stat->start_ticks}));
  auto process = Process::open(pid);
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_TRUE(process->alive());
  ASSERT_TRUE(process->signal(SIGKILL));
  EXPECT_EQ(::waitpid(pid.number, nullptr, 0), pid.number);
}

TEST(Process, PollWakesWhenItEnds) {
  if (!kernel().pidfd) GTEST_SKIP() << "this kernel has no pidfds";
  Child child;
  auto process = Process::open(child.pid());
  ASSERT_TRUE(process);
  pollfd item{process->poll_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&item, 1, 0), 0);
  ASSERT_TRUE(process->signal(SIGKILL));
  EXPECT_EQ(::poll(&item, 1, 5000), 1);
}

TEST(Process, OpensExactlyTheOneMeant) {
  const Child child;
  const auto id = Process::open(child.pid())->id();
  EXPECT_TRUE(Process::open(id));
  for (const std::uint64_t start : {id.start_ticks - 1, id.start_ticks + 1, std::uint64_t{0}}) {
    const ProcessId other{id.pid, start};
    const auto process = Process::open(other);
    ASSERT_FALSE(process);
    EXPECT_EQ(process.error().code.value(), ESRCH);
    EXPECT_FALSE(lives(other));
  }
}

TEST(Process, OneThatIsGoneCannotBeHeld) {
  Child child;
  const Pid pid = child.pid();
  const auto id = Process::open(pid)->id();
  child.collect(SIGKILL);
  EXPECT_FALSE(Process::open(pid));
  const auto process = Process::open(id);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().code.value(), ESRCH);
  EXPECT_EQ(process.error().doing.view(), "hold process " + std::to_string(pid.number));
}

TEST(Process, AnEmptyOneIsNotAlive) {
  const Process none;
  EXPECT_FALSE(none);
  EXPECT_FALSE(none.alive());
  EXPECT_EQ(none.poll_fd(), -1);
}

}  // namespace
}  // namespace gpuward::os
