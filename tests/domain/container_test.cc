#include "domain/container.h"

#include <gtest/gtest.h>

#include "domain/anchor_state.h"

namespace gpuward {
namespace {

using Words = std::vector<std::string>;

TEST(ContainerCommand, KnowsRunBehindOptionsWrappersAndItsLongForm) {
  const struct {
    Words command;
    std::string engine;
    std::size_t options;
  } rows[] = {
      {{"docker", "run", "img"}, "docker", 2},
      {{"/usr/bin/podman", "--log-level", "debug", "run", "img"}, "podman", 4},
      {{"docker", "--log-level=debug", "-D", "container", "run", "--rm", "img"}, "docker", 5},
      {{"sudo", "-n", "docker", "run", "img"}, "docker", 4},
      {{"env", "A=b", "nice", "-n", "5", "nerdctl", "run", "img"}, "nerdctl", 7},
  };
  for (const auto& row : rows) {
    const auto found = read_container_command(row.command);
    EXPECT_EQ(found.engine, row.engine) << row.command.front();
    EXPECT_TRUE(found.runs_one) << found.why;
    EXPECT_EQ(found.options, row.options) << row.command.front();
  }
}

TEST(ContainerCommand, ReadsTheUsersIdFileOnlyAmongTheOptionsOfRun) {
  EXPECT_EQ(read_container_command({"docker", "run", "--cidfile", "/a", "img"}).cidfile, "/a");
  EXPECT_EQ(read_container_command({"docker", "run", "-it", "--cidfile=b", "img"}).cidfile, "b");
  EXPECT_EQ(read_container_command({"docker", "run", "-itp", "80:80", "--cidfile=b", "i"}).cidfile,
            "b");
  EXPECT_EQ(read_container_command({"docker", "run", "--name", "x", "img", "--cidfile=c"}).cidfile,
            std::nullopt);
  EXPECT_EQ(read_container_command({"docker", "run", "-v", "--cidfile=c", "img"}).cidfile,
            std::nullopt);
}

TEST(ContainerCommand, TellsABackgroundForm) {
  EXPECT_TRUE(read_container_command({"docker", "run", "-d", "img"}).detached);
  EXPECT_TRUE(read_container_command({"docker", "run", "-itd", "img"}).detached);
  EXPECT_TRUE(read_container_command({"docker", "run", "--rm", "--detach", "img"}).detached);
  EXPECT_FALSE(read_container_command({"docker", "run", "--detach=false", "img"}).detached);
  EXPECT_FALSE(read_container_command({"docker", "run", "-e", "-d", "img"}).detached);
  EXPECT_FALSE(read_container_command({"docker", "run", "-ed", "img", "-d"}).detached);
}

TEST(ContainerCommand, TellsWhereItsEngineIs) {
  EXPECT_EQ(read_container_command({"docker", "-H", "tcp://far", "run", "i"}).host, "tcp://far");
  EXPECT_EQ(read_container_command({"env", "DOCKER_HOST=unix:///s", "docker", "run", "i"}).host,
            "unix:///s");
  EXPECT_TRUE(read_container_command({"docker", "--context", "far", "run", "i"}).elsewhere);
  EXPECT_TRUE(read_container_command({"podman", "--remote", "run", "i"}).elsewhere);
  EXPECT_FALSE(read_container_command({"podman", "--remote=false", "run", "i"}).elsewhere);
}

TEST(ContainerCommand, WhatLeavesNoIdIsKnownAndSaysWhy) {
  for (const Words& command :
       {Words{"docker", "compose", "up"}, Words{"docker", "start", "-a", "x"},
        Words{"docker-compose", "up"}, Words{"sh", "-c", "cd /x && exec docker run img"},
        Words{"sudo", "-u", "bob", "docker", "run", "img"}, Words{"podman"}}) {
    const auto found = read_container_command(command);
    EXPECT_FALSE(found.engine.empty()) << command.front();
    EXPECT_FALSE(found.runs_one) << command.front();
    EXPECT_FALSE(found.why.empty()) << command.front();
  }
  EXPECT_TRUE(read_container_command({"python", "app.py"}).engine.empty());
  EXPECT_TRUE(read_container_command({"vim", "docker-compose.yml", "podman"}).engine.empty());
  EXPECT_TRUE(read_container_command({}).engine.empty());
}

TEST(ContainerProof, AnEmptyTreeAloneProvesNothing) {
  LaunchPlan plan;
  plan.command = {"docker", "run", "img"};
  AnchorState state;
  state.phase = Phase::stopped;
  state.receipt.generation = 1;
  state.receipt.memory = MemoryProof::none;
  EXPECT_EQ(stop_exit_code(state, plan), 4) << "a plan of an older version says nothing of it";
  plan.container.hold = ContainerHold::by_id;
  const struct {
    ContainerProof proof;
    int code;
  } rows[] = {{ContainerProof::not_judged, 4}, {ContainerProof::none, 0},
              {ContainerProof::empty, 0},      {ContainerProof::ended, 0},
              {ContainerProof::left, 4},       {ContainerProof::unseen, 4},
              {ContainerProof::unnamed, 4}};
  for (const auto& row : rows) {
    state.receipt.container_proof = row.proof;
    EXPECT_EQ(stop_exit_code(state, plan), row.code) << to_string(row.proof);
  }
  plan.container.hold = ContainerHold::not_by_id;
  plan.container.why = "no id";
  EXPECT_EQ(why_not_proven(state, plan), "no id");
}

}  // namespace
}  // namespace gpuward
