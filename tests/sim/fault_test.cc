#include <signal.h>

#include <filesystem>
#include <gtest/gtest.h>

#include "world.h"

namespace gpuward::gpusim::test {
namespace {

std::uint64_t code_of(Child& client, const std::string& command) {
  client.tell(command);
  return number_after(client.line(), "code");
}

std::unique_ptr<Child> holder(World& world, const std::string& bytes) {
  auto client = world.client({"hold", bytes});
  EXPECT_EQ(client->line(), "ready");
  return client;
}

TEST(Fault, ALostContextAnswersItsCodeAndHasNoRow) {
  World world({"--memory", "8GiB", "--context-memory", "0B"});
  auto victim = holder(world, "1048576");
  auto other = holder(world, "4096");
  const std::string pid = std::to_string(victim->pid());
  ASSERT_EQ(world.gpusim({"fault", "lost-context", "--pid", pid, "--code", "700"}), 0);
  EXPECT_EQ(code_of(*victim, "launch 1000"), 700U);
  EXPECT_EQ(code_of(*victim, "sync"), 700U);
  EXPECT_EQ(code_of(*other, "launch 1000"), 0U);
  EXPECT_EQ(world.shown("memory_used_bytes"), 4096U);
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  EXPECT_EQ(code_of(*victim, "sync"), 700U) << "a lost context does not come back";
}

TEST(Fault, ALostContextEndsAWaitAtOnceAlsoWhereItsRowStays) {
  for (const bool keeps_row : {false, true}) {
    World world({"--memory", "8GiB"});
    auto victim = holder(world, "0");
    ASSERT_EQ(code_of(*victim, "launch 60000000000"), 0U);
    victim->tell("sync");
    EXPECT_EQ(victim->line(milliseconds(100)), "") << "a minute of work";
    const std::string pid = std::to_string(victim->pid());
    ASSERT_EQ(keeps_row ? world.gpusim({"fault", "lost-context", "--pid", pid, "--keep-row"})
                        : world.gpusim({"fault", "lost-context", "--pid", pid}),
              0);
    EXPECT_EQ(number_after(victim->line(milliseconds(2000)), "code"), 719U) << keeps_row;
  }
}

TEST(Fault, OutOfMemoryComesByItselfAndOnDemand) {
  World world({"--memory", "1GiB", "--reserved", "0B", "--context-memory", "0B"});
  auto client = holder(world, "0");
  EXPECT_EQ(code_of(*client, "alloc 1073741825"), 2U);
  ASSERT_EQ(world.gpusim(
                {"fault", "out-of-memory", "--times", "2", "--pid", std::to_string(client->pid())}),
            0);
  EXPECT_EQ(code_of(*client, "alloc 4096"), 2U);
  EXPECT_EQ(code_of(*client, "alloc 4096"), 2U);
  EXPECT_EQ(code_of(*client, "alloc 1073741824"), 0U);
}

TEST(Fault, WhatIsCopiedFromTheCardIsSpoiltInSilence) {
  World world({"--memory", "8GiB"});
  auto victim = holder(world, "4096");
  auto other = holder(world, "4096");
  const std::string pid = std::to_string(victim->pid());
  EXPECT_EQ(code_of(*victim, "differ 4096"), 0U);
  ASSERT_EQ(world.gpusim({"fault", "corrupt", "--pid", pid, "--times", "2"}), 0);
  EXPECT_EQ(code_of(*other, "differ 4096"), 0U) << "of another process";
  EXPECT_EQ(code_of(*victim, "differ 4096"), 1U);
  EXPECT_EQ(code_of(*victim, "differ 1"), 1U);
  EXPECT_EQ(code_of(*victim, "differ 4096"), 0U) << "used up";
  ASSERT_EQ(world.gpusim({"fault", "corrupt"}), 0);
  EXPECT_EQ(code_of(*other, "differ 4096"), 1U);
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  EXPECT_EQ(code_of(*other, "differ 4096"), 0U);
}

TEST(Fault, MemoryComesBackAfterTheDelayOrOnlyWithHeal) {
  World world({"--memory", "8GiB", "--context-memory", "0B", "--return-delay", "300ms"});
  auto client = holder(world, "1048576");
  client.reset();
  const auto noticed = std::chrono::steady_clock::now();
  EXPECT_EQ(world.shown("memory_used_bytes"), 1048576U);
  EXPECT_TRUE(world.wait_shown("memory_used_bytes", 0));
  EXPECT_GE(std::chrono::steady_clock::now() - noticed, milliseconds(300));
  ASSERT_EQ(world.gpusim({"fault", "return-delay", "never"}), 0);
  holder(world, "1048576").reset();
  EXPECT_FALSE(world.wait_shown("memory_used_bytes", 0, milliseconds(500)));
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  EXPECT_TRUE(world.wait_shown("memory_used_bytes", 0));
}

TEST(Fault, AForkedChildGetsNotInitialisedAndKeepsTheMemoryOfItsDeadParent) {
  World world({"--memory", "8GiB", "--context-memory", "0B", "--return-delay", "0ms"});
  auto client = holder(world, "1048576");
  client->tell("fork");
  std::string both = client->line() + "\n" + client->line() + "\n";
  EXPECT_NE(both.find("child 3\n"), std::string::npos) << both;
  const pid_t child = static_cast<pid_t>(number_after(both, "forked"));
  ASSERT_GT(child, 0);
  client->signal(SIGKILL);
  client->wait();
  EXPECT_EQ(world.shown("memory_used_bytes"), 1048576U);
  EXPECT_NE(world.output().find("held by a child"), std::string::npos) << world.output();
  ::kill(child, SIGKILL);
  EXPECT_TRUE(world.wait_shown("memory_used_bytes", 0));
}

TEST(Fault, AThrottledCardIsSlower) {
  World world({"--memory", "8GiB"});
  auto client = world.client({"work", "10000000", "10", "ahead"});
  ASSERT_EQ(client->line(), "ready");
  ASSERT_EQ(world.gpusim({"fault", "throttle", "50"}), 0);
  client->tell("go");
  EXPECT_GE(number_after(client->line(), "took"), 199'000'000U);
}

TEST(Checkpoint, ParksAndBringsBackInTheTimeOfTheCopy) {
  // 256 MiB at 2.5 GB/s are 107 ms each way.
  World world({"--memory", "8GiB", "--context-memory", "0B", "--copy-rate", "2500MB"});
  auto client = holder(world, "268435456");
  auto agent = holder(world, "0");
  const std::string pid = std::to_string(client->pid());
  EXPECT_EQ(code_of(*agent, "Checkpoint " + pid), 401U) << "not locked";
  EXPECT_EQ(code_of(*agent, "Lock " + pid), 0U);
  client->tell("sync");
  EXPECT_EQ(client->line(milliseconds(100)), "") << "locked out";
  agent->tell("Checkpoint " + pid);
  std::string line = agent->line();
  EXPECT_EQ(number_after(line, "code"), 0U);
  EXPECT_GE(number_after(line, "took"), 107'000'000U);
  EXPECT_EQ(code_of(*agent, "GetState " + pid), 2U);
  EXPECT_EQ(world.shown("memory_used_bytes"), 0U);
  EXPECT_EQ(code_of(*agent, "Unlock " + pid), 401U);
  agent->tell("Restore " + pid);
  line = agent->line();
  EXPECT_EQ(number_after(line, "code"), 0U);
  EXPECT_GE(number_after(line, "took"), 107'000'000U);
  EXPECT_EQ(world.shown("memory_used_bytes"), 268435456U);
  EXPECT_EQ(code_of(*agent, "Unlock " + pid), 0U);
  EXPECT_EQ(number_after(client->line(), "code"), 0U);
}

TEST(Checkpoint, ALockThatCannotDrainTimesOutAndOpensAgain) {
  World world({"--memory", "8GiB"});
  auto client = holder(world, "0");
  auto agent = holder(world, "0");
  const std::string pid = std::to_string(client->pid());
  ASSERT_EQ(code_of(*client, "launch 60000000000"), 0U);
  EXPECT_EQ(code_of(*agent, "Lock " + pid), 600U);
  EXPECT_EQ(code_of(*client, "launch 1"), 0U);
}

TEST(Checkpoint, AStoppedProcessCannotBeLocked) {
  World world({"--memory", "8GiB"});
  auto client = holder(world, "0");
  auto agent = holder(world, "0");
  const std::string pid = std::to_string(client->pid());
  client->stop();
  EXPECT_EQ(code_of(*agent, "Lock " + pid), 600U);
  client->signal(SIGCONT);
  EXPECT_EQ(code_of(*agent, "Lock " + pid), 0U);
}

TEST(Checkpoint, RestoreWithoutRoomAndRefusedStepsSaySo) {
  World world({"--memory", "1GiB", "--reserved", "0B", "--context-memory", "0B"});
  auto client = holder(world, "805306368");
  auto agent = holder(world, "0");
  const std::string pid = std::to_string(client->pid());
  ASSERT_EQ(code_of(*agent, "Lock " + pid), 0U);
  ASSERT_EQ(world.gpusim({"fault", "refuse-checkpoint", "Checkpoint"}), 0);
  EXPECT_EQ(code_of(*agent, "Checkpoint " + pid), 801U);
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  EXPECT_EQ(code_of(*agent, "Checkpoint " + pid), 0U);
  ASSERT_EQ(code_of(*agent, "alloc 536870912"), 0U);
  EXPECT_EQ(code_of(*agent, "Restore " + pid), 2U);
  EXPECT_EQ(code_of(*agent, "GetState " + pid), 2U) << "still parked";
}

TEST(Checkpoint, EndingARestoredProcessLosesTheHostUnlessItIsParkedFirst) {
  World world({"--memory", "8GiB"});
  ASSERT_EQ(world.gpusim({"fault", "kill-after-restore"}), 0);
  auto agent = holder(world, "0");
  const auto cycle = [&](const std::string& pid) {
    for (const char* step : {"Lock ", "Checkpoint ", "Restore ", "Unlock "}) {
      EXPECT_EQ(code_of(*agent, step + pid), 0U) << step;
    }
  };
  auto careful = holder(world, "4096");
  const std::string parked = std::to_string(careful->pid());
  cycle(parked);
  EXPECT_EQ(code_of(*agent, "Lock " + parked), 0U);
  EXPECT_EQ(code_of(*agent, "Checkpoint " + parked), 0U);
  careful.reset();
  ASSERT_EQ(world.gpusim({"show"}), 0);
  EXPECT_EQ(code_of(*agent, "sync"), 0U) << "the host lives";
  auto careless = holder(world, "4096");
  cycle(std::to_string(careless->pid()));
  careless.reset();
  ASSERT_EQ(world.gpusim({"show"}), 0);
  agent->tell("sync");
  EXPECT_EQ(agent->line(milliseconds(200)), "") << "every call hangs on a lost host";
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  EXPECT_EQ(number_after(agent->line(), "code"), 0U);
}

TEST(Tool, RefusesWhatMakesNoSense) {
  World world;
  EXPECT_EQ(world.gpusim({"create"}), 1) << "there are cards already";
  EXPECT_EQ(world.gpusim({"create", "--memory", "40"}), 2);
  EXPECT_EQ(world.gpusim({"create", "--return-delay", "5"}), 2);
  EXPECT_EQ(world.gpusim({"fault", "stride", "20"}), 2);
  EXPECT_EQ(world.gpusim({"fault", "lost-context", "--pid", "4000000"}), 1);
  EXPECT_EQ(world.gpusim({"fault", "off-the-bus", "--gpu", "7"}), 1);
  EXPECT_EQ(world.gpusim({}), 2);
  EXPECT_EQ(world.gpusim({"--help"}), 0);
}

TEST(Tool, DestroyTakesTheCardsFromThoseWhoUseThem) {
  World world;
  auto client = holder(world, "4096");
  ASSERT_EQ(world.gpusim({"destroy"}), 0);
  EXPECT_EQ(code_of(*client, "sync"), 999U);
  EXPECT_EQ(world.gpusim({"show"}), 1);
}

}  // namespace
}  // namespace gpuward::gpusim::test
