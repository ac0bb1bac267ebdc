#include "control/marked.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

#include "control/messages.h"
#include "os/proc_fs.h"
#include "os/process.h"

namespace gpuward::control {
namespace {

// A real process with an environment of its own.
class Marked {
 public:
  explicit Marked(std::vector<const char*> variables) : pid_{::fork()} {
    variables.push_back(nullptr);
    const char* const words[] = {"sleep", "1000", nullptr};
    if (pid_.number == 0) {
      ::execve("/bin/sleep", const_cast<char**>(words), const_cast<char**>(variables.data()));
      ::_exit(127);
    }
    while (!os::environment_has(pid_, variables.front())) std::this_thread::yield();
  }
  Marked(const Marked&) = delete;
  Marked& operator=(const Marked&) = delete;
  ~Marked() {
    ::kill(pid_.number, SIGKILL);
    ::waitpid(pid_.number, nullptr, 0);
  }
  ProcessId id() const { return os::Process::open(pid_).value().id(); }

 private:
  Pid pid_;
};

AnchorState led_by(ProcessId anchor, std::string_view mark) {
  AnchorState state;
  state.anchor = anchor;
  state.tree_variable = Text<48>(mark);
  return state;
}

constexpr ProcessId kDead{Pid{4711}, 1};
constexpr ProcessId kOther{Pid{4711}, 2};  // the same number, another process

TEST(MarkedProcesses, AreFoundByTheMarkOfEachTreeThatTheyCarry) {
  const Marked inner({"A=1", "GPUWARD_TREE=outer", "GPUWARD_TREE=inner"});
  const Marked outer({"A=1", "GPUWARD_TREE=outer", "MY_GPUWARD_TREE=inner"});
  const auto look = MarkedProcesses::look({kDead});
  const auto of = [&](std::string_view mark) { return look.of(led_by(kDead, mark)); };
  EXPECT_EQ(of("GPUWARD_TREE=inner").anchor, kDead);
  EXPECT_EQ(unpack(of("GPUWARD_TREE=inner").members), std::vector{inner.id()});
  EXPECT_EQ(unpack(of("GPUWARD_TREE=outer").members).size(), 2U);
  EXPECT_EQ(of("GPUWARD_TREE=none").anchor, kDead);
  EXPECT_TRUE(of("GPUWARD_TREE=none").members.empty());
}

TEST(MarkedProcesses, SayNothingOfATreeWhoseAnchorWasNotKnownToBeDead) {
  const Marked process({"GPUWARD_TREE=mine"});
  const auto look = MarkedProcesses::look({kDead});
  EXPECT_FALSE(look.of(led_by(kOther, "GPUWARD_TREE=mine")).anchor);
  EXPECT_FALSE(look.of(led_by({}, "GPUWARD_TREE=mine")).anchor);
  EXPECT_FALSE(MarkedProcesses().of(led_by(kDead, "GPUWARD_TREE=mine")).anchor);
}

}  // namespace
}  // namespace gpuward::control
