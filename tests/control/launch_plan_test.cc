#include "control/launch_plan.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>

#include "os/fd.h"

namespace gpuward::control {
namespace {

// A home of its own, with the run folder that names cgroups.
class LaunchPlanTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "gpuward.plan.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    home_ = {root_ + "/etc", root_ + "/state", root_ + "/run", root_ + "/log"};
    ASSERT_TRUE(os::make_directories(home_.run, 0700));
    ASSERT_TRUE(os::make_directories(root_ + "/venv/bin", 0700));
    service_.name = "app";
    service_.command = {"python", "app.py"};
    context_.environment = {{"PATH", "/usr/bin"}, {"PYTHONHOME", "/old"}, {"HOME", "/h"}};
  }
  void TearDown() override {
    for (const char* folder : {"/venv/bin", "/venv", "/run", ""}) ::rmdir((root_ + folder).c_str());
  }
  LaunchPlan plan() {
    auto made = make_plan(service_, 0, home_, context_);
    EXPECT_TRUE(made) << made.error().message();
    return made.value_or(LaunchPlan{});
  }
  static std::string value(const LaunchPlan& plan, std::string_view name) {
    const auto at = std::ranges::find(plan.env, name, &EnvVar::name);
    return at == plan.env.end() ? "(unset)" : at->value;
  }

  std::string root_;
  Home home_;
  ServiceModel service_;
  LaunchContext context_;
};

TEST_F(LaunchPlanTest, TheVenvComesFirstInPathWhateverEnvSays) {
  service_.venv = root_ + "/venv";
  EXPECT_EQ(value(plan(), "PATH"), root_ + "/venv/bin:/usr/bin");
  service_.env = {{"PATH", "/mine"}};
  EXPECT_EQ(value(plan(), "PATH"), root_ + "/venv/bin:/mine");
  EXPECT_EQ(value(plan(), "VIRTUAL_ENV"), root_ + "/venv");
  EXPECT_EQ(value(plan(), "PYTHONHOME"), "(unset)");
}

TEST_F(LaunchPlanTest, ATempFolderOfItsOwnIsToldByVariablesUnlessTheServiceHasThem) {
  context_.environment.push_back({"TMPDIR", "/inherited"});
  EXPECT_EQ(value(plan(), "TMPDIR"), "/inherited");
  service_.private_tmp = true;
  service_.env = {{"TMP", "/mine"}};
  const auto made = plan();
  EXPECT_EQ(made.temp_folder, root_ + "/state-tmp/app.0");
  EXPECT_EQ(value(made, "TMPDIR"), made.temp_folder);
  EXPECT_EQ(value(made, "TEMP"), made.temp_folder);
  EXPECT_EQ(value(made, "TMP"), "/mine");
  EXPECT_EQ(made.temp_max_age, std::chrono::days(10));
  service_.private_tmp_max_age.reset();
  EXPECT_EQ(plan().temp_max_age.count(), 0);
}

TEST_F(LaunchPlanTest, TheServicesOwnWordsStayBesideTheVenv) {
  service_.venv = root_ + "/venv";
  service_.env = {{"VIRTUAL_ENV", "/mine"}, {"PYTHONHOME", "/mine"}};
  EXPECT_EQ(value(plan(), "VIRTUAL_ENV"), "/mine");
  EXPECT_EQ(value(plan(), "PYTHONHOME"), "/mine");
}

TEST_F(LaunchPlanTest, OnePortGoesWhereverItIsAskedFor) {
  service_.command = {"srv", "--port={port}", "{port}"};
  service_.env = {{"URL", "http://127.0.0.1:{port}/"}};
  service_.ready.kind = ReadyKind::tcp;
  const auto made = plan();
  const std::string digits = std::to_string(made.port);
  EXPECT_NE(made.port, 0);
  EXPECT_EQ(made.command, (std::vector<std::string>{"srv", "--port=" + digits, digits}));
  EXPECT_EQ(value(made, "URL"), "http://127.0.0.1:" + digits + "/");
  EXPECT_EQ(value(made, "PORT"), digits);
  EXPECT_EQ(made.ready.address, "127.0.0.1:" + digits);
}

TEST_F(LaunchPlanTest, APortOfTheServicesOwnStays) {
  service_.command = {"srv", "{port}"};
  service_.env = {{"PORT", "7"}};
  EXPECT_EQ(value(plan(), "PORT"), "7");
}

TEST_F(LaunchPlanTest, WhatDoesNotFitARecordIsRefusedByName) {
  context_.environment.push_back({"LARGE", std::string(60'000, 'x')});
  const auto made = make_plan(service_, 0, home_, context_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, make_error_code(Errc::refused));
  EXPECT_NE(made.error().message().find("most of them in LARGE"), std::string::npos)
      << made.error().message();
}

TEST_F(LaunchPlanTest, RelativePathsBeginAtTheServicesFolder) {
  context_.directory = "/base";
  service_.directory = "app";
  service_.pid_file = "main.pid";
  const auto made = plan();
  EXPECT_EQ(made.directory, "/base/app");
  EXPECT_EQ(made.pid_file, "/base/app/main.pid");
}

TEST_F(LaunchPlanTest, AContainerIsAskedForItsIdBehindRun) {
  service_.command = {"docker", "run", "--rm", "img"};
  const auto made = plan();
  const std::string file = home_.run + "/anchors/app.0/cid";
  EXPECT_EQ(made.command,
            (std::vector<std::string>{"docker", "run", "--cidfile=" + file, "--rm", "img"}));
  EXPECT_EQ(made.container.hold, ContainerHold::by_id);
  EXPECT_EQ(made.container.cidfile, file);
  EXPECT_EQ(made.container.sockets.front(), "/var/run/docker.sock");
  EXPECT_TRUE(made.container.engine_known);
  EXPECT_FALSE(made.container.only_here);
}

TEST_F(LaunchPlanTest, TheUsersOwnIdFileAndEngineAreUsed) {
  service_.command = {"docker", "run", "--cidfile", "my.cid", "img"};
  service_.directory = "/srv";
  service_.env = {{"DOCKER_HOST", "unix:///run/mine.sock"}};
  const auto made = plan();
  EXPECT_EQ(made.command, service_.command);
  EXPECT_EQ(made.container.cidfile, "/srv/my.cid");
  EXPECT_EQ(made.container.sockets, std::vector<std::string>{"/run/mine.sock"});
  service_.env = {{"DOCKER_HOST", "ssh://far"}};
  EXPECT_TRUE(plan().container.sockets.empty());
  EXPECT_FALSE(plan().container.engine_known);
}

TEST_F(LaunchPlanTest, PodmanRunsHereUnlessItIsToldOtherwise) {
  service_.command = {"podman", "run", "img"};
  EXPECT_TRUE(plan().container.only_here);
  service_.env = {{"CONTAINER_HOST", "ssh://far"}};
  EXPECT_FALSE(plan().container.only_here);
}

TEST_F(LaunchPlanTest, AnIdOfAnotherUserIsNotAskedFor) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to plan for another user";
  service_.command = {"docker", "run", "img"};
  service_.rights.user = "65534";
  const auto made = plan();
  EXPECT_EQ(made.command, service_.command);
  EXPECT_EQ(made.container.hold, ContainerHold::not_by_id);
  EXPECT_FALSE(made.container.why.empty());
}

}  // namespace
}  // namespace gpuward::control
