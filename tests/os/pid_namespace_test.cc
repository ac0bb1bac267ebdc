#include "os/pid_namespace.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <gtest/gtest.h>
#include <string>

#include "child.h"
#include "os/proc_fs.h"
#include "os/spawn.h"

namespace gpuward::os {
namespace {

class PidNamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = PidNamespace::make(false);
    if (!made) GTEST_SKIP() << "no PID namespaces here: " << made.error().message();
    space_ = std::move(*made);
  }
  void TearDown() override {
    space_.kill();
    if (space_) ::waitpid(space_.first().pid().number, nullptr, 0);
  }
  // Runs @p script inside; what it prints can be read from out_.
  Process spawn(const char* script) {
    const char* const argv[] = {"sh", "-c", script, nullptr};
    const char* const envp[] = {"PATH=/usr/bin:/bin", nullptr};
    auto out = make_pipe();
    SpawnPlan plan;
    plan.argv = argv;
    plan.envp = envp;
    plan.out = plan.err = out->write.get();
    plan.pid_namespace = &space_;
    auto spawning = Spawning::begin(plan);
    if (!spawning) {
      ADD_FAILURE() << to_string(spawning.error().step) << ": " << spawning.error().errno_value;
      return {};
    }
    (void)spawning->go();
    out_ = std::move(out->read);
    return spawning->take_process();
  }
  std::string said() const {
    char text[64]{};
    const ssize_t n = ::read(out_.get(), text, sizeof text);
    return {text, n < 0 ? 0 : static_cast<std::size_t>(n)};
  }

  PidNamespace space_;
  Fd out_;
};

TEST_F(PidNamespaceTest, AChildInsideIsOursAndHasANumberOfItsOwn) {
  const Process child = spawn("echo $$; exit 7");
  EXPECT_EQ(said(), "2\n");
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid().number, &status, 0), child.pid().number);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  EXPECT_TRUE(space_.alive()) << "it outlives those inside";
}

TEST_F(PidNamespaceTest, ItsEndEndsEveryoneInside) {
  const Process child = spawn("setsid sh -c 'trap \"\" TERM; echo up; sleep 1000' & wait");
  EXPECT_EQ(said(), "up\n");
  space_.kill();
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid().number, &status, 0), child.pid().number);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  EXPECT_TRUE(within([&] { return !space_.alive(); }));
  char byte = 0;
  EXPECT_EQ(::read(out_.get(), &byte, 1), 0) << "nobody holds the other end any more";
}

TEST_F(PidNamespaceTest, IsFoundAgainByItsFirstProcessAndNoOther) {
  auto found = PidNamespace::open(space_.first().id());
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_TRUE(found->alive());
  EXPECT_FALSE(PidNamespace::open({space_.first().pid(), space_.first().id().start_ticks + 1}));
  EXPECT_FALSE(PidNamespace::open({}));
  EXPECT_FALSE(PidNamespace().alive());
}

TEST_F(PidNamespaceTest, DiesWithWhoeverMadeItUntilItIsSettledAndThenWhenThatIsAsked) {
  struct Case {
    bool asked, settled;
  };
  for (const auto [asked, settled] : {Case{true, true}, {false, true}, {false, false}}) {
    auto told = make_pipe();
    const pid_t maker = ::fork();
    if (maker == 0) {
      auto made = PidNamespace::make(asked);
      if (made && settled) made->settle();
      const ProcessId id = made ? made->first().id() : ProcessId{};
      (void)!::write(told->write.get(), &id, sizeof id);
      ::_exit(0);
    }
    ProcessId id;
    ASSERT_EQ(::read(told->read.get(), &id, sizeof id),
              std::ssize(std::as_bytes(std::span(&id, 1))));
    ::waitpid(maker, nullptr, 0);
    const bool dies = asked || !settled;
    EXPECT_EQ(within([&] { return !lives(id); }, std::chrono::milliseconds(dies ? 5000 : 50)), dies)
        << asked << settled;
    if (auto left = PidNamespace::open(id)) left->kill();
  }
}

}  // namespace
}  // namespace gpuward::os
