#include "domain/heal.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

namespace gpuward {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr HealRule kAct{HealMode::act, 3};

HealTime at(milliseconds when, std::string boot = "b1") {
  return {1'700'000'000'000 + when.count(), when.count() * 1'000'000, std::move(boot)};
}

HealFacts ghost() {
  HealFacts facts;
  facts.sick = facts.running = true;
  facts.verdict = "GHOST_NOCTX";
  facts.witnesses = 2;
  return facts;
}

HealFacts well() {
  HealFacts facts;
  facts.running = true;
  return facts;
}

TEST(Heal, RestartsAGhostOnce) {
  HealRecord record;
  EXPECT_EQ(step(record, ghost(), kAct, at(0s)).step, HealStep::restart);
  ASSERT_EQ(record.restarts.size(), 1U);
  EXPECT_TRUE(record.restarts[0].acted);
  const auto next = step(record, ghost(), kAct, at(10s));
  EXPECT_EQ(next.why, HealWhy::backing_off);
  EXPECT_EQ(next.wait, 50s);
}

TEST(Heal, ObserveOnlySaysSo) {
  HealRecord record;
  EXPECT_EQ(step(record, ghost(), {}, at(0s)).step, HealStep::would_restart);
  EXPECT_FALSE(record.restarts.at(0).acted);
  // What was said is not what was done: the day's budget is whole when "act" is written.
  EXPECT_EQ(step(record, ghost(), kAct, at(1s)).step, HealStep::restart);
}

TEST(Heal, WhatWasOnlySaidIsNotGivenUp) {
  HealRecord record;
  for (auto now = 0min; now < 2h; now += 1min)
    step(record, ghost(), {HealMode::observe, 24}, at(now));
  EXPECT_LE(record.restarts.size(), kMostHealBudget);
  EXPECT_FALSE(record.gave_up);
  EXPECT_EQ(step(record, ghost(), kAct, at(2h)).step, HealStep::restart);
}

// "By hand: gpuward restart" is said where there is one witness, and must not be said of these.
TEST(Heal, ADangerIsToldBeforeAnythingElse) {
  const std::pair<bool HealFacts::*, HealWhy> rows[] = {
      {&HealFacts::ever_restored, HealWhy::ever_restored},
      {&HealFacts::restarts_blocked, HealWhy::restarts_blocked},
      {&HealFacts::unkillable, HealWhy::unkillable},
      {&HealFacts::card_out_of_use, HealWhy::card_out_of_use},
  };
  for (const auto& [danger, why] : rows) {
    HealFacts facts = ghost();
    facts.witnesses = 1;
    facts.running = false;
    facts.progress = true;
    facts.*danger = true;
    HealRecord record;
    const auto decided = step(record, facts, kAct, at(0s));
    EXPECT_EQ(decided.why, why);
    EXPECT_EQ(describe(decided, facts, kAct, "a").find("by hand"), std::string::npos);
  }
}

TEST(Heal, OneWitnessIsNotEnough) {
  HealRecord record;
  auto facts = ghost();
  facts.witnesses = 1;
  EXPECT_EQ(step(record, facts, kAct, at(0s)).why, HealWhy::one_witness);
  EXPECT_TRUE(record.restarts.empty());
}

TEST(Heal, BusyIsNeverDead) {
  HealRecord record;
  auto facts = ghost();
  facts.witnesses = 9;
  facts.progress = true;
  EXPECT_EQ(step(record, facts, kAct, at(0s)).why, HealWhy::progress);
}

TEST(Heal, NothingIsRestartedThatCouldHurt) {
  const auto why = [](auto set) {
    HealRecord record;
    auto facts = ghost();
    set(facts);
    return step(record, facts, kAct, at(0s)).why;
  };
  EXPECT_EQ(why([](auto& f) { f.restarts_blocked = true; }), HealWhy::restarts_blocked);
  EXPECT_EQ(why([](auto& f) { f.ever_restored = true; }), HealWhy::ever_restored);
  EXPECT_EQ(why([](auto& f) { f.unkillable = true; }), HealWhy::unkillable);
  EXPECT_EQ(why([](auto& f) { f.card_out_of_use = true; }), HealWhy::card_out_of_use);
  EXPECT_EQ(why([](auto& f) { f.running = false; }), HealWhy::not_running);
}

TEST(Heal, AnIllnessThatComesBackIsGivenUp) {
  HealRecord record;
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(0min)).step, HealStep::restart);
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(1min)).step, HealStep::restart);
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(5min)).why, HealWhy::backing_off);
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(11min)).step, HealStep::restart);
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(30min)).why, HealWhy::gave_up);
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(20h)).why, HealWhy::gave_up)
      << "time alone mends nothing";
  started_by_hand(record);
  EXPECT_EQ(step(record, ghost(), {HealMode::act, 24}, at(21h)).step, HealStep::restart);
}

TEST(Heal, BeingWellForAWhileForgetsThatItWasGivenUp) {
  HealRecord record;
  record.gave_up = true;
  step(record, well(), kAct, at(0min));
  step(record, well(), kAct, at(9min));
  EXPECT_TRUE(record.gave_up);
  step(record, well(), kAct, at(10min));
  EXPECT_FALSE(record.gave_up);
}

TEST(Heal, TheBudgetIsOfAnyDay) {
  HealRecord record;
  const HealRule one{HealMode::act, 1};
  EXPECT_EQ(step(record, ghost(), one, at(0h)).step, HealStep::restart);
  EXPECT_EQ(step(record, ghost(), one, at(23h)).why, HealWhy::budget_spent);
  EXPECT_EQ(step(record, ghost(), one, at(24h)).step, HealStep::restart);
  HealRecord none;
  EXPECT_EQ(step(none, ghost(), {HealMode::act, 0}, at(0h)).why, HealWhy::budget_spent);
}

TEST(Heal, AClockThatWasSetDoesNotFillTheBudget) {
  HealRecord record;
  const HealRule one{HealMode::act, 1};
  ASSERT_EQ(step(record, ghost(), one, at(0h)).step, HealStep::restart);
  auto ahead = at(1h);
  ahead.unix_ms += 48 * 3'600'000LL;
  EXPECT_EQ(step(record, ghost(), one, ahead).why, HealWhy::budget_spent);
  auto back = at(1h, "b2");  // after a reboot only civil time is left
  back.unix_ms -= 48 * 3'600'000LL;
  EXPECT_EQ(step(record, ghost(), one, back).why, HealWhy::budget_spent);
}

TEST(Heal, SaysWhyAndWhatToDo) {
  const HealFacts facts = ghost();
  EXPECT_EQ(
      describe({HealStep::refused, HealWhy::budget_spent, {}}, facts, {HealMode::act, 1}, "x"),
      "GHOST_NOCTX: not restarted: its budget of 1 a day is spent; by hand: gpuward restart "
      "x");
  EXPECT_EQ(describe({HealStep::would_restart, HealWhy::none, {}}, facts, {}, "x"),
            "GHOST_NOCTX: with 'heal = \"act\"' it would be restarted now; by hand: gpuward "
            "restart x");
}

// No restart storm by construction: whatever comes, whenever it comes, over 30 days.
TEST(HealProperty, NoSequenceExceedsTheBudgetOfAnyDay) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto one_in = [&](unsigned n) { return random() % n == 0; };
    HealRecord record;
    const std::uint32_t budget = random() % 6;
    std::vector<milliseconds> acts;
    milliseconds now{0};
    while (now < 30 * 24h) {
      now += milliseconds(random() % (one_in(50) ? 7'200'000 : 60'000) + 1);
      HealFacts facts;
      facts.sick = !one_in(3);
      facts.verdict = "GHOST_STICKY";
      facts.witnesses = random() % 4;
      facts.progress = one_in(4);
      facts.running = !one_in(10);
      facts.ever_restored = one_in(20);
      const HealRule rule{one_in(5) ? HealMode::observe : HealMode::act, budget};
      if (one_in(200)) started_by_hand(record);
      const auto decision = step(record, facts, rule, at(now));
      ASSERT_LE(record.restarts.size(), 2 * kMostHealBudget);
      if (decision.step != HealStep::restart) continue;
      ASSERT_EQ(rule.mode, HealMode::act);
      ASSERT_TRUE(facts.sick && facts.running && !facts.progress && !facts.ever_restored);
      ASSERT_GE(facts.witnesses, kWitnesses);
      acts.push_back(now);
      const auto lately =
          std::ranges::count_if(acts, [&](milliseconds act) { return now - act < kHealWindow; });
      ASSERT_LE(lately, budget) << "seed " << seed << " at " << now.count();
    }
  }
}

// harm.md 6. Five engines at saturation for 30 days: probes are missed, the card looks idle between
// two batches, rows vanish for a moment, but work goes on or nobody else agrees: 0 actions.
TEST(HealProperty, SaturatedEnginesAreLeftAlone) {
  enum class Shape : std::uint8_t { llm, diffusion, whisper, film, pool };
  for (const auto shape :
       {Shape::llm, Shape::diffusion, Shape::whisper, Shape::film, Shape::pool}) {
    std::mt19937 random(static_cast<unsigned>(shape));
    HealRecord record;
    int suspicions = 0;
    for (milliseconds now{0}; now < 30 * 24h; now += 10s) {
      HealFacts facts = well();
      facts.verdict = "STALLED";
      const bool gap = random() % 100 < 7;  // between two batches nothing is seen to move
      facts.progress = !gap;
      // A missed probe and a late answer have one cause, the load: one witness.
      const std::uint32_t missed_probe = random() % 20 == 0 ? 1 : 0;
      const bool row_gone = shape == Shape::pool && random() % 500 == 0;
      facts.witnesses = std::max(missed_probe, row_gone ? 1U : 0U);
      if (!facts.progress && facts.witnesses == 0) facts.witnesses = 1;
      facts.sick = missed_probe != 0 || row_gone || gap;
      suspicions += facts.sick ? 1 : 0;
      const auto decision = step(record, facts, kAct, at(now));
      ASSERT_TRUE(decision.step == HealStep::nothing || decision.step == HealStep::refused);
    }
    EXPECT_GT(suspicions, 10000) << "or the test tells nothing";
    EXPECT_TRUE(record.restarts.empty());
  }
}

}  // namespace
}  // namespace gpuward
