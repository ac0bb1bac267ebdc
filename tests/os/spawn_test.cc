#include "os/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <set>
#include <string>

#include "child.h"
#include "os/clock.h"
#include "os/pid_namespace.h"
#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

// A plan for one command, its output caught in a pipe.
struct Plan {
  explicit Plan(std::vector<const char*> command) : argv(std::move(command)) {
    argv.push_back(nullptr);
    auto made = make_pipe(O_NONBLOCK);
    if (made) output = std::move(*made);
    plan.argv = argv.data();
    plan.envp = envp;
    plan.out = plan.err = output.write.get();
  }
  /// Everything that was printed so far.
  std::string printed() const {
    char buffer[4096];
    const ssize_t n = ::read(output.read.get(), buffer, sizeof buffer);
    return {buffer, buffer + std::max<ssize_t>(n, 0)};
  }

  std::vector<const char*> argv;
  const char* envp[3] = {"PATH=/usr/bin:/bin", "COLOUR=green", nullptr};
  Pipe output;
  SpawnPlan plan;
};

int collect(const Process& process) {
  int status = -1;
  ::waitpid(process.pid().number, &status, 0);
  return status;
}

// The answer to go(), waited for.
ExecState answer_of(const Fd& report, SpawnFailure* failure) {
  pollfd item{report.get(), POLLIN, 0};
  ::poll(&item, 1, 5000);
  return read_exec_report(report, failure);
}

TEST(Spawn, RunsTheCommandWithItsEnvironmentInItsDirectory) {
  const TempFolder folder;
  Plan plan({"sh", "-c", "echo $COLOUR; pwd; echo \"$HOME\"; exit 3"});
  plan.plan.directory = folder.path().c_str();
  auto spawning = Spawning::begin(plan.plan);
  ASSERT_TRUE(spawning);
  const Fd report = spawning->go();
  SpawnFailure failure;
  EXPECT_EQ(answer_of(report, &failure), ExecState::done);
  const int status = collect(spawning->process());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(plan.printed(), "green\n" + folder.path() + "\n\n");
}

TEST(Spawn, TheChildWaitsAtTheGate) {
  Plan plan({"echo", "through"});
  auto spawning = Spawning::begin(plan.plan);
  ASSERT_TRUE(spawning);
  const Process& child = spawning->process();
  ASSERT_TRUE(within([&] { return read_stat(child.pid())->state == 'S'; }));
  EXPECT_TRUE(child.alive());
  EXPECT_EQ(*read_command(child.pid()), *read_command(Pid{::getpid()})) << "no exec yet";
  EXPECT_EQ(plan.printed(), "");
  const Fd report = spawning->go();
  EXPECT_EQ(collect(child), 0);
  EXPECT_EQ(plan.printed(), "through\n");
}

TEST(Spawn, WithoutGoTheChildEnds) {
  Plan plan({"echo", "through"});
  Process child;
  {
    auto spawning = Spawning::begin(plan.plan);
    ASSERT_TRUE(spawning);
    EXPECT_TRUE(spawning->process().alive());
    child = spawning->take_process();
  }
  EXPECT_TRUE(within([&] { return !child.alive(); }));
  EXPECT_NE(collect(child), 0);
  EXPECT_EQ(plan.printed(), "");
}

TEST(Spawn, AFailureNamesItsStep) {
  const struct {
    const char* command;
    const char* directory;
    int out;
    SpawnStep step;
    int errno_value;
    const char* words;
  } table[] = {
      {"no-such-command-here", nullptr, -1, SpawnStep::execute, ENOENT, "execute"},
      {"/etc/passwd", nullptr, -1, SpawnStep::execute, EACCES, "execute"},
      {"/", nullptr, -1, SpawnStep::execute, EACCES, "execute"},
      {"true", "/no/such/folder", -1, SpawnStep::change_directory, ENOENT,
       "change to its directory"},
      {"true", "/etc/passwd", -1, SpawnStep::change_directory, ENOTDIR, "change to its directory"},
      {"true", nullptr, 1'000'000, SpawnStep::stdio, EBADF, "open its output"},
  };
  for (const auto& row : table) {
    SCOPED_TRACE(row.command);
    Plan plan({row.command});
    plan.plan.directory = row.directory;
    if (row.out >= 0) plan.plan.out = row.out;
    auto spawning = Spawning::begin(plan.plan);
    ASSERT_TRUE(spawning);
    const Fd report = spawning->go();
    SpawnFailure failure;
    EXPECT_EQ(answer_of(report, &failure), ExecState::failed);
    EXPECT_EQ(failure.step, row.step);
    EXPECT_EQ(failure.errno_value, row.errno_value);
    EXPECT_EQ(to_string(failure.step), row.words);
    const int status = collect(spawning->process());
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 127);
  }
}

TEST(Spawn, TheChildHasASessionAndPlainSignalsOfItsOwn) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  ::signal(SIGHUP, SIG_IGN);
  // glibc keeps 32 and 33 for itself and refuses to touch them; a program that started us may not.
  constexpr int kGlibcOwn = 33;
  const std::uint64_t ignore[4] = {1};  // SIG_IGN
  const std::uint64_t restore[4] = {};
  ASSERT_EQ(::syscall(SYS_rt_sigaction, kGlibcOwn, ignore, nullptr, 8), 0);
  Plan plan({"sleep", "60"});
  auto spawning = Spawning::begin(plan.plan);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGHUP, SIG_DFL);
  ::syscall(SYS_rt_sigaction, kGlibcOwn, restore, nullptr, 8);
  ASSERT_TRUE(spawning);
  const Fd report = spawning->go();
  SpawnFailure failure;
  EXPECT_EQ(answer_of(report, &failure), ExecState::done);
  const Process& child = spawning->process();
  EXPECT_EQ(::getsid(child.pid().number), child.pid().number);
  const auto status = *read_file("/proc/" + std::to_string(child.pid().number) + "/status");
  EXPECT_NE(status.find("SigBlk:\t0000000000000000"), std::string::npos) << status;
  EXPECT_NE(status.find("SigIgn:\t0000000000000000"), std::string::npos) << status;
  EXPECT_TRUE(child.signal(SIGTERM));
  const int ended = collect(child);
  EXPECT_TRUE(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM);
}

TEST(Spawn, NoDescriptorOfOursReachesTheCommand) {
  // Far from the numbers that a shell opens for itself.
  const Fd leak = Fd::take(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 200));
  Plan plan({"sh", "-c", "for n in /proc/$$/fd/*; do echo ${n##*/}; done"});
  auto spawning = Spawning::begin(plan.plan);
  ASSERT_TRUE(spawning);
  const Fd report = spawning->go();
  EXPECT_EQ(collect(spawning->process()), 0);
  EXPECT_EQ(plan.printed().find(std::to_string(leak.get()) + "\n"), std::string::npos);
}

TEST(StartProgram, HandsADescriptorAsNumber3) {
  auto pipe = make_pipe();
  ASSERT_TRUE(pipe);
  ProgramPlan plan;
  plan.path = "/bin/sh";
  plan.args = {"-c", "echo handed >&3; read x; exit 5"};
  auto gate = make_pipe();
  plan.in = gate->read.get();
  plan.handed = &pipe->write;
  auto process = start_program(plan);
  ASSERT_TRUE(process) << process.error().message();
  char buffer[16] = {};
  EXPECT_EQ(::read(pipe->read.get(), buffer, sizeof buffer - 1), 7);
  EXPECT_STREQ(buffer, "handed\n");
  EXPECT_EQ(::getsid(process->pid().number), process->pid().number);
  gate->write.close();
  const int status = collect(*process);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

TEST(StartProgram, SaysWhatCouldNotBeExecuted) {
  ProgramPlan plan;
  plan.path = "/no/such/program";
  const auto process = start_program(plan);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().message(), "execute '/no/such/program': No such file or directory");
}

TEST(SiblingProgram, LiesBesideTheRunningOne) {
  const auto path = sibling_program("test_os");
  ASSERT_TRUE(path) << path.error().message();
  EXPECT_TRUE(path->ends_with("/test_os"));
  EXPECT_FALSE(sibling_program("no-such-program"));
}

// A process of this test that, for each byte it reads, kills the first new child of its parent.
class KillerOfTheOneInBetween {
 public:
  KillerOfTheOneInBetween() : orders_(make_pipe().value()), parent_(::getpid()) {
    pid_ = ::fork();
    if (pid_ == 0) kill_by_order();
  }
  KillerOfTheOneInBetween(const KillerOfTheOneInBetween&) = delete;
  KillerOfTheOneInBetween& operator=(const KillerOfTheOneInBetween&) = delete;
  ~KillerOfTheOneInBetween() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void order() const { (void)!::write(orders_.write.get(), "x", 1); }

 private:
  [[noreturn]] void kill_by_order() const {
    std::set<pid_t> known;
    const auto look = [&] {
      pid_t fresh = 0;
      (void)for_each_child(Pid{parent_}, [&](Pid child) {
        if (known.insert(child.number).second && fresh == 0) fresh = child.number;
      });
      return fresh;
    };
    char byte = 0;
    while (::read(orders_.read.get(), &byte, 1) == 1) {
      (void)look();
      pid_t between = 0;
      const Instant give_up = now() + std::chrono::milliseconds(200);
      while (between == 0 && now() < give_up) between = look();
      if (between != 0) ::kill(between, SIGKILL);
    }
    ::_exit(0);
  }

  Pipe orders_;
  pid_t parent_;
  pid_t pid_ = -1;
};

TEST(Spawn, ADeathOfTheProcessInBetweenIsAFailureAndNoWaitForEver) {
  auto space = PidNamespace::make(true);
  if (!space) GTEST_SKIP() << "no PID namespaces here: " << space.error().message();
  const KillerOfTheOneInBetween killer;
  int failed = 0;
  for (int round = 0; round < 100; ++round) {
    killer.order();
    Plan plan({"true"});
    plan.plan.pid_namespace = &*space;
    const auto spawning = Spawning::begin(plan.plan);
    failed += spawning ? 0 : 1;
  }
  EXPECT_GT(failed, 0) << "none was met in between";
  space->kill();
  EXPECT_TRUE(within([] { return ::waitpid(-1, nullptr, WNOHANG) <= 0; }));
}

}  // namespace
}  // namespace gpuward::os
