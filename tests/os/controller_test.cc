#include "os/controller.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include "child.h"

namespace gpuward::os {
namespace {

std::string content(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(CpuShares, AreThoseOfTheWeightWithinWhatTheKernelTakes) {
  EXPECT_EQ(cpu_shares_of(100), 1024U);
  EXPECT_EQ(cpu_shares_of(50), 512U);
  EXPECT_EQ(cpu_shares_of(1), 10U);
  EXPECT_EQ(cpu_shares_of(10'000), 102'400U);
  EXPECT_EQ(cpu_shares_of(0), 2U);
  EXPECT_EQ(cpu_shares_of(4'000'000'000U), 262'144U);
}

// A group of a v1 hierarchy, the real one.
class V1Group : public testing::TestWithParam<Controller> {
 protected:
  void SetUp() override {
    const auto folder = find_v1_folder(GetParam());
    if (!folder) GTEST_SKIP() << "no v1 hierarchy here: " << folder.error().message();
    if (::access(folder->c_str(), W_OK) < 0)
      GTEST_SKIP() << "no right to make groups in " << *folder;
    auto group = ControllerGroup::create(GetParam(), Cgroup(), name());
    ASSERT_TRUE(group) << group.error().message();
    group_ = std::move(*group);
  }
  void TearDown() override {
    if (!group_) return;
    EXPECT_TRUE(group_.remove());
  }
  static std::string name() { return "gpuward.limit." + std::to_string(::getpid()); }

  ControllerGroup group_;
};

TEST_P(V1Group, IsEnteredKeptAndRemoved) {
  EXPECT_TRUE(group_.beside());
  const std::string path = group_.path();
  {
    const Child child;
    ASSERT_TRUE(group_.enter(child.pid()));
    EXPECT_EQ(content(path + "/cgroup.procs"), std::to_string(child.pid().number) + "\n");
    auto other = ControllerGroup::open(GetParam(), path);
    ASSERT_TRUE(other);
    EXPECT_FALSE(other->remove()) << "somebody is in it";
    EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  }
  EXPECT_TRUE(within([&] { return content(path + "/cgroup.procs").empty(); }));
  EXPECT_TRUE(group_.remove());
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST_P(V1Group, WhatSomebodyRemovedIsMadeAnew) {
  ASSERT_EQ(::rmdir(group_.path().c_str()), 0);
  ASSERT_TRUE(group_.renew());
  const Child child;
  EXPECT_TRUE(group_.enter(child.pid()));
}

INSTANTIATE_TEST_SUITE_P(Controllers, V1Group, testing::Values(Controller::memory, Controller::cpu),
                         [](const auto& tested) { return std::string(to_string(tested.param)); });

using V1Memory = V1Group;
TEST_P(V1Memory, CountsWhomTheKernelKills) {
  ASSERT_TRUE(group_.set_memory_max(16_MiB));
  EXPECT_EQ(content(group_.path() + "/memory.limit_in_bytes"), "16777216\n");
  if (!group_.memory_kills()) GTEST_SKIP() << "memory.oom_control counts no kills (before 4.13)";
  EXPECT_EQ(group_.memory_kills(), 0U);
  const pid_t child = ::fork();
  if (child == 0) {
    if (!group_.enter(Pid{::getpid()})) ::_exit(1);
    constexpr std::size_t kTooMuch = std::size_t{64} << 20;
    std::vector<char> eaten(kTooMuch);
    std::memset(eaten.data(), 1, eaten.size());
    ::_exit(eaten[kTooMuch / 2]);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_EQ(group_.memory_kills(), 1U);
}
INSTANTIATE_TEST_SUITE_P(Memory, V1Memory, testing::Values(Controller::memory),
                         [](const auto&) { return "memory"; });

using V1Cpu = V1Group;
TEST_P(V1Cpu, TakesAWeightAsShares) {
  ASSERT_TRUE(group_.set_cpu_weight(50));
  EXPECT_EQ(content(group_.path() + "/cpu.shares"), "512\n");
  EXPECT_EQ(group_.memory_kills(), std::nullopt);
}
INSTANTIATE_TEST_SUITE_P(Cpu, V1Cpu, testing::Values(Controller::cpu),
                         [](const auto&) { return "cpu"; });

// A folder with the files of a cgroup2 group: not every machine has the controllers there.
class V2Group : public testing::Test {
 protected:
  void SetUp() override {
    write("cgroup.controllers", "cpu memory\n");
    write("cgroup.procs", "");
    write("memory.max", "");
    write("cpu.weight", "");
    write("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n");
    write("memory.stat", "anon 50000000\nfile 900000000\nshmem 1000000\nslab_unreclaimable 0\n");
  }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_.path() + "/" + name) << text;
  }
  ControllerGroup group(Controller what) {
    auto opened = ControllerGroup::open(what, folder_.path());
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? std::move(*opened) : ControllerGroup();
  }

  TempFolder folder_;
};

TEST_F(V2Group, IsTheTreesOwn) {
  auto memory = group(Controller::memory);
  EXPECT_FALSE(memory.beside());
  EXPECT_TRUE(memory.enter(Pid{::getpid()}));
  EXPECT_EQ(content(folder_.path() + "/cgroup.procs"), "") << "it was born in it";
  EXPECT_EQ(memory.memory_kills(), 2U);
  EXPECT_TRUE(memory.remove());
  EXPECT_EQ(::access(folder_.path().c_str(), F_OK), 0) << "it goes with the tree";
}

TEST_F(V2Group, TakesLimitsAsTheyAreWritten) {
  ASSERT_TRUE(group(Controller::memory).set_memory_max(64_MiB));
  EXPECT_EQ(content(folder_.path() + "/memory.max"), "67108864");
  ASSERT_TRUE(group(Controller::cpu).set_cpu_weight(50));
  EXPECT_EQ(content(folder_.path() + "/cpu.weight"), "50");
}

// The kernel would end somebody at once; what is only cached does not count.
TEST_F(V2Group, IsNotLimitedToLessThanItsProcessesHold) {
  const auto set = group(Controller::memory).set_memory_max(32_MiB);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().doing.view(),
            "lower 'memory.max' to 33554432 bytes: its processes hold more");
  EXPECT_EQ(content(folder_.path() + "/memory.max"), "");
}

TEST_F(V2Group, WithoutTheControllerItCannotBeOpened) {
  ASSERT_EQ(::unlink((folder_.path() + "/memory.max").c_str()), 0);
  EXPECT_FALSE(ControllerGroup::open(Controller::memory, folder_.path()));
  EXPECT_TRUE(ControllerGroup::open(Controller::cpu, folder_.path()));
}

}  // namespace
}  // namespace gpuward::os
