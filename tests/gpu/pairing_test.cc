#include "gpu/pairing.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <gtest/gtest.h>

#include "os/clock.h"

namespace gpuward::gpu {
namespace {

class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0) {
      for (;;) ::pause();
    }
  }
  ~Child() { end(); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  std::uint32_t pid() const { return static_cast<std::uint32_t>(pid_); }

 private:
  pid_t pid_;
};

/// As a list that is read now tells of @p pid.
GpuProcess listed(Pairer& pairer, std::uint32_t pid) {
  GpuProcess row;
  row.pid = pid;
  const auto ticks = Pairer::now_ticks();
  pairer.refresh();
  pairer.pair(row, ticks);
  return row;
}

TEST(Pairer, OneThatIsOlderThanTheListAndLivesIsTheRows) {
  Pairer pairer;
  const GpuProcess row = listed(pairer, static_cast<std::uint32_t>(::getppid()));
  EXPECT_EQ(row.pairing, Pairing::paired);
  EXPECT_NE(row.start_ticks, 0U);
  EXPECT_EQ(pairer.held(), 1U);
}

TEST(Pairer, OneThatStartedAfterTheListMayHaveTakenTheNumberOver) {
  Pairer pairer;
  const auto before = Pairer::now_ticks();
  const Child child;
  GpuProcess row;
  row.pid = child.pid();
  pairer.refresh();
  pairer.pair(row, before);
  EXPECT_EQ(row.pairing, Pairing::young);
  EXPECT_EQ(row.start_ticks, 0U);
  const Instant deadline = os::now() + std::chrono::seconds(10);
  while (row.pairing == Pairing::young && os::now() < deadline) row = listed(pairer, child.pid());
  EXPECT_EQ(row.pairing, Pairing::paired) << "a later list finds it old enough";
}

TEST(Pairer, OneThatHasEndedIsGone) {
  Pairer pairer;
  Child child;
  const std::uint32_t pid = child.pid();
  const Instant deadline = os::now() + std::chrono::seconds(10);
  while (listed(pairer, pid).pairing != Pairing::paired && os::now() < deadline) {
  }
  child.end();
  const GpuProcess row = listed(pairer, pid);
  EXPECT_EQ(row.pairing, Pairing::gone);
  EXPECT_EQ(row.start_ticks, 0U);
  EXPECT_EQ(pairer.held(), 0U);
}

TEST(Pairer, LetsGoOfWhoIsInNoListAnyMore) {
  Pairer pairer;
  (void)listed(pairer, static_cast<std::uint32_t>(::getppid()));
  pairer.end_look();
  EXPECT_EQ(pairer.held(), 1U);
  pairer.end_look();
  EXPECT_EQ(pairer.held(), 0U);
}

}  // namespace
}  // namespace gpuward::gpu
