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

}  // namespace
}  // namespace gpuward
