#include "text.h"

namespace gpuward::config {
namespace {

TEST(Heal, IsAsWritten) {
  const auto parsed = parse_text(
      "[service.a]\ncommand = [\"srv\"]\nheal = \"act\"\nheal_budget = 1\n"
      "hooks = { failed = [\"/bin/tell\", \"it\"], UNKILLABLE = [\"page\"], log_lines = 20 }\n");
  ASSERT_EQ(heads(parsed.problems), Lines{});
  const auto& service = parsed.services.at(0);
  EXPECT_EQ(service.heal, HealMode::act);
  EXPECT_EQ(service.heal_budget, 1U);
  ASSERT_EQ(service.hooks.size(), 2U);
  EXPECT_EQ(service.hooks[0], (Hook{"failed", {"/bin/tell", "it"}}));
  EXPECT_EQ(service.hooks[1].event, "UNKILLABLE");
  EXPECT_EQ(service.hook_log_lines, 20U);
}

// harm.md 6 and 11: nothing is done, and no log text leaves, unless it is written.
TEST(Heal, ObservesAndTellsNoLogUnlessWritten) {
  const auto service = parse_text("[service.a]\ncommand = [\"srv\"]\n").services.at(0);
  EXPECT_EQ(service.heal, HealMode::observe);
  EXPECT_EQ(service.heal_budget, 3U);
  EXPECT_EQ(service.hook_log_lines, 0U);
}

TEST(Heal, MistakesAreNamed) {
  EXPECT_EQ(problems_of("heal = \"yes\"\nheal_budget = 25\n"),
            (Lines{"3:8: 'heal' does not know 'yes', expected \"observe\" or \"act\"",
                   "4:15: 'heal_budget' is no such number, expected 0 to 24"}));
  EXPECT_EQ(problems_of("heal = true\n"),
            Lines{"3:8: 'heal' is a boolean, expected \"observe\" or \"act\""});
}

TEST(Hooks, AnUnknownEventIsAnErrorWithTheNearest) {
  EXPECT_EQ(problems_of("hooks = { faild = [\"a\"] }\n"),
            Lines{"3:11: 'hooks' knows no event 'faild'; did you mean 'failed'?"});
  EXPECT_EQ(problems_of("hooks = { \"warden-began\" = [\"a\"] }\n").size(), 1U);
  // One hook would call the next for ever.
  EXPECT_EQ(problems_of("hooks = { hook = [\"a\"] }\n").size(), 1U);
}

TEST(Hooks, ACommandIsAProgramThatCanBeFound) {
  EXPECT_EQ(problems_of("hooks = { failed = \"a b\" }\n").size(), 1U);
  EXPECT_EQ(problems_of("hooks = { failed = [] }\n"),
            Lines{"3:20: 'hooks.failed' is empty, expected a list of words: "
                  "[\"/usr/local/bin/tell\", \"argument\"]"});
  EXPECT_EQ(problems_of("hooks = { failed = [\"./a\"] }\n").size(), 1U);
  EXPECT_EQ(problems_of("hooks = { failed = [\"~/a\"] }\n").size(), 1U);
  EXPECT_EQ(problems_of("hooks = { failed = [\"a\"], log_lines = 101 }\n"),
            Lines{"3:39: 'hooks.log_lines' is no such number, expected 0 to 100"});
}

}  // namespace
}  // namespace gpuward::config
