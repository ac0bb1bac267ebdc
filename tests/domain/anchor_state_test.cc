#include "domain/anchor_state.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

TEST(DescribeKills, NamesTheirNumberAndTheLimitOfTheService) {
  LimitState state;
  EXPECT_TRUE(describe_kills(state, {}).empty());
  state.kills = 2;
  EXPECT_EQ(describe_kills(state, {.cpu_weight = 0, .memory_max = 200_MiB}).view(),
            "the kernel killed 2 of its processes for memory (memory_max 200 MiB)");
  EXPECT_EQ(describe_kills(state, {}).view(), "the kernel killed 2 of its processes for memory");
}

TEST(StopExitCode, WhatWasPromisedAndNotKeptApartIsNotProven) {
  AnchorState state;
  state.phase = Phase::stopped;
  state.receipt.released.list.push_back({{Pid{7}, 1}, Pid{7}, "worker"});
  EXPECT_EQ(stop_exit_code(state, {}), 0);
  state.receipt.released.trouble = "pid 7 (worker) stays";
  EXPECT_EQ(stop_exit_code(state, {}), 4);
}

TEST(MayLiveOn, IsWhatNoLaterAnchorFinds) {
  const auto after = [](void (*change)(AnchorState&), Phase phase = Phase::stopped) {
    AnchorState state;
    state.cgroup = "/sys/fs/cgroup/gpuward.app.0";
    state.phase = phase;
    change(state);
    return may_live_on(state, {});
  };
  EXPECT_FALSE(after([](AnchorState&) {}));
  EXPECT_FALSE(after([](AnchorState& s) { s.cgroup.clear(); })) << "its end was seen";
  EXPECT_FALSE(after([](AnchorState& s) { s.outside = 1; })) << "likewise";
  EXPECT_TRUE(after([](AnchorState& s) { s.doubt = true; }));
  EXPECT_TRUE(after([](AnchorState& s) { s.has_released = true; }));
  // Its anchor died.
  EXPECT_FALSE(after([](AnchorState&) {}, Phase::ready)) << "its cgroup tells";
  EXPECT_TRUE(after([](AnchorState& s) { s.cgroup.clear(); }, Phase::ready));
  EXPECT_TRUE(after([](AnchorState& s) { s.outside = 1; }, Phase::ready));
  const auto held = [](AnchorState& s) {
    s.cgroup.clear();
    s.level = Containment::pidns;
  };
  EXPECT_FALSE(after(held, Phase::ready));
  LaunchPlan plan;
  plan.command = {"docker", "run", "x"};
  EXPECT_TRUE(may_live_on({}, plan));
}

// `reap` ends what is left of a service as `stop` does, and must not meet the service itself.
TEST(AnchorState, WhatIsLeftOverOfATreeIsOfThatTreeAndNobodyServesInIt) {
  struct Row {
    const char* mark;
    Phase phase;
    bool led;
    bool main_lives;
    bool left_over;
  };
  for (const Row& row : {
           Row{"GPUWARD_TREE=a", Phase::failed, false, false, true},
           {"GPUWARD_TREE=a", Phase::stopped, true, false, true},
           {"GPUWARD_TREE=a", Phase::ready, false, false, true},
           {"GPUWARD_TREE=a", Phase::ready, false, true, false},
           {"GPUWARD_TREE=a", Phase::ready, true, false, false},
           {"GPUWARD_TREE=a", Phase::starting, true, true, false},
           {"GPUWARD_TREE=b", Phase::stopped, false, false, false},
           {"", Phase::stopped, false, false, false},
       }) {
    AnchorState state;
    state.tree_variable = Text<48>("GPUWARD_TREE=a");
    state.phase = row.phase;
    EXPECT_EQ(is_left_over_of(state, row.mark, row.led, row.main_lives), row.left_over)
        << row.mark << " " << static_cast<int>(row.phase) << row.led << row.main_lives;
  }
}

}  // namespace
}  // namespace gpuward
