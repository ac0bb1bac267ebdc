#include "os/cgroup.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

#include "child.h"
#include "os/spawn.h"

namespace gpuward::os {
namespace {

// A group of our own for each test, in whatever place this machine offers.
class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    place_ = find_cgroup_place();
    if (place_.kind == CgroupKind::none)
      GTEST_SKIP() << "no right to make cgroups here: " << place_.reason;
    name_ = "gpuward.test." + std::to_string(::getpid());
    auto group = Cgroup::create(place_.kind, place_.parent, name_);
    ASSERT_TRUE(group) << group.error().message();
    group_ = std::move(*group);
  }
  void TearDown() override {
    if (group_) (void)group_.remove();
  }
  std::vector<Pid> members() const {
    std::vector<Pid> found;
    EXPECT_TRUE(group_.for_each_member([&](Pid pid) { found.push_back(pid); }));
    return found;
  }
  bool populated() const {
    auto answer = group_.populated();
    EXPECT_TRUE(answer) << answer.error().message();
    return answer.value_or(false);
  }

  CgroupPlace place_;
  std::string name_;
  Cgroup group_;
};

TEST(GroupForTrees, IsBesideThePrograms) {
  EXPECT_EQ(group_for_trees("/system.slice/gpuward.service/gpuward.programs"),
            "/system.slice/gpuward.service");
  EXPECT_EQ(group_for_trees("/gpuward.programs"), "/");
  EXPECT_EQ(group_for_trees("/system.slice/gpuward.service"), "/system.slice/gpuward.service");
  EXPECT_EQ(group_for_trees("/"), "/");
}

TEST_F(CgroupTest, AProcessEntersIsSeenAndLeavesByEnding) {
  EXPECT_FALSE(populated());
  EXPECT_TRUE(members().empty());
  Child child;
  EXPECT_FALSE(group_.holds(child.pid()));
  ASSERT_TRUE(group_.enter(child.pid()));
  EXPECT_TRUE(populated());
  EXPECT_EQ(members(), std::vector{child.pid()});
  EXPECT_TRUE(group_.holds(child.pid()));
  EXPECT_FALSE(group_.holds(Pid{::getpid()}));
  child.collect(SIGKILL);
  EXPECT_TRUE(within([&] { return !populated(); }));
  EXPECT_FALSE(group_.holds(child.pid()));
}

TEST_F(CgroupTest, AZombieDoesNotPopulateIt) {
  Child child;
  ASSERT_TRUE(group_.enter(child.pid()));
  ::kill(child.pid().number, SIGKILL);
  EXPECT_TRUE(within([&] { return !populated(); })) << "the child is dead, though not collected";
}

TEST_F(CgroupTest, KillEndsEveryMember) {
  Child one;
  Child two;
  ASSERT_TRUE(group_.enter(one.pid()));
  ASSERT_TRUE(group_.enter(two.pid()));
  const auto killed = group_.kill();
  if (!killed && killed.error().code == make_error_code(Errc::not_supported))
    GTEST_SKIP() << "no cgroup.kill here";
  ASSERT_TRUE(killed) << killed.error().message();
  EXPECT_TRUE(within([&] { return !populated(); }));
  const int status = one.collect(0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

TEST_F(CgroupTest, TheKernelSaysFrozenAndThawed) {
  Child child;
  ASSERT_TRUE(group_.enter(child.pid()));
  const auto frozen = group_.freeze(true);
  if (!frozen && frozen.error().code == make_error_code(Errc::not_supported))
    GTEST_SKIP() << "no freezer here";
  ASSERT_TRUE(frozen) << frozen.error().message();
  const bool v2 = place_.kind == CgroupKind::v2;
  const auto says = [&](const char* on_v2, const char* on_v1) {
    const auto text = read_file(group_.path() + (v2 ? "/cgroup.events" : "/freezer.state"));
    return text && text->find(v2 ? on_v2 : on_v1) != std::string::npos;
  };
  EXPECT_TRUE(within([&] { return says("frozen 1", "FROZEN"); }));
  ASSERT_TRUE(group_.freeze(false));
  EXPECT_TRUE(within([&] { return says("frozen 0", "THAWED"); }));
}

TEST_F(CgroupTest, APopulatedOneCannotBeTakenNorRemoved) {
  Child child;
  ASSERT_TRUE(group_.enter(child.pid()));
  const auto second = Cgroup::create(place_.kind, place_.parent, name_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code.value(), EBUSY);
  const auto removed = group_.remove();
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code.value(), EBUSY);
  EXPECT_TRUE(populated()) << "still held";
  child.collect(SIGKILL);
  EXPECT_TRUE(within([&] { return !populated(); }));
  EXPECT_TRUE(Cgroup::create(place_.kind, place_.parent, name_)) << "an empty one is taken over";
}

TEST_F(CgroupTest, GroupsBelowCountAndAreRemovedWithIt) {
  const std::string path = group_.path();
  auto below = Cgroup::create(place_.kind, path, "below");
  ASSERT_TRUE(below) << below.error().message();
  ASSERT_TRUE(Cgroup::create(place_.kind, below->path(), "deeper"));
  Child child;
  ASSERT_TRUE(below->enter(child.pid()));
  EXPECT_TRUE(populated());
  EXPECT_EQ(members(), std::vector{child.pid()});
  EXPECT_TRUE(group_.holds(child.pid()));
  child.collect(SIGKILL);
  ASSERT_TRUE(within([&] { return !populated(); }));
  ASSERT_TRUE(group_.remove());
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  EXPECT_FALSE(group_);
}

TEST_F(CgroupTest, ANeighbourWithALongerNameIsNotAMember) {
  auto neighbour = Cgroup::create(place_.kind, place_.parent, name_ + "0");
  ASSERT_TRUE(neighbour);
  Child child;
  ASSERT_TRUE(neighbour->enter(child.pid()));
  EXPECT_TRUE(neighbour->holds(child.pid()));
  EXPECT_FALSE(group_.holds(child.pid()));
  child.collect(SIGKILL);
  EXPECT_TRUE(within([&] { return neighbour->remove().has_value(); }));
}

TEST_F(CgroupTest, ASpawnedChildIsInsideFromItsFirstInstruction) {
  const char* argv[] = {"true", nullptr};
  const char* envp[] = {"PATH=/usr/bin:/bin", nullptr};
  auto null = Fd::open("/dev/null", O_WRONLY);
  SpawnPlan plan{argv, envp, nullptr, -1, null->get(), null->get(), &group_};
  Process child;
  {
    auto spawning = Spawning::begin(plan);
    ASSERT_TRUE(spawning) << to_string(spawning.error().step);
    EXPECT_TRUE(group_.holds(spawning->process().pid()));
    EXPECT_EQ(members(), std::vector{spawning->process().pid()});
    child = spawning->take_process();
  }
  ::waitpid(child.pid().number, nullptr, 0);
  EXPECT_TRUE(within([&] { return !populated(); }));
}

TEST_F(CgroupTest, ANextGenerationLivesInAGroupThatWasKilledBefore) {
  if (!group_.kill()) GTEST_SKIP() << "no cgroup.kill here";
  ::signal(SIGPIPE, SIG_IGN);  // a dead child's gate must be an answer, not the end of this test
  const char* const argv[] = {"sh", "-c", "echo alive", nullptr};
  const char* const envp[] = {"PATH=/usr/bin:/bin", nullptr};
  auto out = make_pipe();
  ASSERT_TRUE(out);
  SpawnPlan plan{argv, envp, nullptr, -1, out->write.get(), out->write.get(), &group_};
  auto spawning = Spawning::begin(plan);
  ASSERT_TRUE(spawning);
  EXPECT_TRUE(group_.holds(spawning->process().pid()));
  (void)spawning->go();
  out->write.close();
  char said[16]{};
  EXPECT_EQ(::read(out->read.get(), said, sizeof said), 6) << "it was killed at birth";
  ::waitpid(spawning->process().pid().number, nullptr, 0);
}

TEST(Cgroup, OutsideItsMountIsRefused) {
  for (const auto kind : {CgroupKind::v2, CgroupKind::v1_freezer})
    EXPECT_FALSE(Cgroup::open(kind, "/tmp"));
  EXPECT_FALSE(Cgroup::open(CgroupKind::v2, "/no/such/group"));
  EXPECT_FALSE(Cgroup());
}

TEST(CgroupPlace, SaysWhyWhenThereIsNone) {
  const auto place = find_cgroup_place();
  EXPECT_EQ(place.reason.empty(), place.kind != CgroupKind::none) << place.reason;
  if (place.kind != CgroupKind::none) {
    EXPECT_TRUE(place.parent.starts_with(place.mount));
  }
}

}  // namespace
}  // namespace gpuward::os
