#include <gtest/gtest.h>

#include "text.h"

namespace gpuward::config {
namespace {

using namespace std::chrono_literals;

TEST(IdleHolder, IsATimeOrOff) {
  const auto read = [](const std::string& line) {
    return parse_text("[service.a]\ncommand=[\"x\"]\n" + line).services.at(0).idle_holder;
  };
  EXPECT_EQ(read(""), 10min);
  EXPECT_EQ(read("idle_holder = \"90s\"\n"), 90s);
  EXPECT_EQ(read("idle_holder = \"off\"\nreap = \"report\"\n"), std::nullopt);
  EXPECT_EQ(problems_of("idle_holder = \"10ms\"\n"),
            Lines{"3:15: 'idle_holder' is out of range, expected 1s to 30d, or \"off\""});
  EXPECT_EQ(problems_of("idle_holder = 5\n"),
            Lines{"3:15: 'idle_holder' has no unit, expected \"5s\""});
}

TEST(Reap, ActNeedsTheGateway) {
  EXPECT_EQ(problems_of("reap = \"act\"\n"),
            Lines{"3:8: 'reap = \"act\"' needs the gateway, which is not built yet: without it "
                  "nobody knows which job a process was born in, expected \"report\"; by hand: "
                  "gpuward reap PID"});
  EXPECT_EQ(problems_of("reap = \"kill\"\n"),
            Lines{"3:8: 'reap' does not know 'kill', expected \"report\""});
}

TEST(Reap, RulesOfStrangersAreRead) {
  const auto parsed = parse_text(
      "[reap]\nstrangers = [{ user = \"alice\", command = \"*jupyter*\", idle = \"1h\" },\n"
      "  { cgroup = \"/user.slice/*\" }]\n");
  EXPECT_TRUE(parsed.problems.empty()) << heads(parsed.problems).front();
  ASSERT_EQ(parsed.strangers.size(), 2U);
  EXPECT_EQ(parsed.strangers[0], (StrangerRule{"alice", "*jupyter*", "", 1h}));
  EXPECT_EQ(parsed.strangers[1], (StrangerRule{"", "", "/user.slice/*", 10min}));
}

TEST(Reap, ARuleThatNamesEverythingIsNone) {
  EXPECT_EQ(
      heads(
          parse_text("[reap]\nstrangers = [{ user = \"alice\" }, { command = \"*\" }]\n").problems),
      (Lines{"2:14: a rule of 'strangers' names nothing that a process runs, expected "
             "'command' or 'cgroup' beside it",
             "2:46: the pattern of 'command' names every process, expected a pattern "
             "with * and ? that names something"}));
  EXPECT_EQ(heads(parse_text("[reap]\nstranger = []\n").problems),
            Lines{"2:1: unknown key 'reap.stranger'; did you mean 'reap.strangers'?"});
  EXPECT_TRUE(parse_text("[reap]\nstrangers = [{ user = \"alice\" }]\n").strangers.empty());
}

// A rule with a mistake is no rule: `gpuward reap` says so where it ends others.
TEST(Reap, ItsProblemsAreToldApart) {
  const auto parsed = parse_text(
      "[reap]\nstrangers = [{ command = \"*\" }, { command = \"a*\" }]\n[service.a]\nx = 1\n");
  EXPECT_EQ(parsed.strangers.size(), 1U);
  ASSERT_EQ(parsed.reap_problems.size(), 1U);
  EXPECT_EQ(parsed.reap_problems[0].what, "the pattern of 'command' names every process");
  EXPECT_GT(parsed.problems.size(), 1U);
}

}  // namespace
}  // namespace gpuward::config
