#include "domain/heal.h"

#include <algorithm>

namespace gpuward {
namespace {

using std::chrono::milliseconds;

// The pause after so many restarts of one illness.
milliseconds pause_after(std::uint32_t in_a_row) {
  return in_a_row <= 1 ? std::chrono::minutes(1) : std::chrono::minutes(10);
}

// How long ago, by the clock that cannot jump where it is of this boot. Never negative: a time that
// lies ahead is now.
milliseconds age(const HealTime& then, const HealTime& now) {
  const milliseconds by_wall{now.unix_ms - then.unix_ms};
  if (then.boot != now.boot || then.boot.empty()) return std::max(by_wall, milliseconds(0));
  const std::chrono::nanoseconds exact(now.monotonic_ns - then.monotonic_ns);
  return std::max(std::chrono::duration_cast<milliseconds>(exact), milliseconds(0));
}

// The newest restarts with no more than a relapse between them, and how long ago the last was.
struct Row {
  std::uint32_t count = 0;
  milliseconds since_last{0};
};
Row row_of(const HealRecord& record, bool acted, const HealTime& now) {
  Row row;
  const HealTime* later = &now;
  for (auto at = record.restarts.rbegin(); at != record.restarts.rend(); ++at) {
    if (at->acted != acted) continue;
    const auto gap = age(at->at, *later);
    if (gap > kRelapseWithin) break;
    if (row.count == 0) row.since_last = gap;
    ++row.count;
    later = &at->at;
  }
  return row;
}

// What a person must not do either comes first: the others say how to do it by hand.
std::optional<HealWhy> obstacle(const HealFacts& facts) {
  if (facts.ever_restored) return HealWhy::ever_restored;
  if (facts.restarts_blocked) return HealWhy::restarts_blocked;
  if (facts.unkillable) return HealWhy::unkillable;
  if (facts.card_out_of_use) return HealWhy::card_out_of_use;
  if (facts.progress) return HealWhy::progress;
  if (!facts.running) return HealWhy::not_running;
  if (facts.witnesses < kWitnesses) return HealWhy::one_witness;
  return std::nullopt;
}

void remember(HealRecord& record, bool acted, const HealFacts& facts, const HealTime& now) {
  const auto same = [&](const HealRestart& one) { return one.acted == acted; };
  if (std::ranges::count_if(record.restarts, same) >= static_cast<int>(kMostHealBudget))
    record.restarts.erase(std::ranges::find_if(record.restarts, same));
  record.restarts.push_back({now, acted, facts.verdict});
}

void note_well(HealRecord& record, const HealTime& now) {
  if (!record.well_since) record.well_since = now;
  if (age(*record.well_since, now) >= kWellAfter) record.gave_up = false;
}

}  // namespace

std::uint32_t in_window(const HealRecord& record, bool acted, const HealTime& now) {
  return static_cast<std::uint32_t>(
      std::ranges::count_if(record.restarts, [&](const HealRestart& one) {
        return one.acted == acted && age(one.at, now) < kHealWindow;
      }));
}

HealDecision step(HealRecord& record, const HealFacts& facts, const HealRule& rule,
                  const HealTime& now) {
  if (!facts.sick) {
    if (facts.running) note_well(record, now);
    return {};
  }
  record.well_since.reset();
  if (const auto why = obstacle(facts)) return {HealStep::refused, *why, {}};
  const bool act = rule.mode == HealMode::act;
  // What was only said has mended nothing, and so nothing was tried in vain.
  if (act && record.gave_up) return {HealStep::refused, HealWhy::gave_up, {}};
  const Row row = row_of(record, act, now);
  if (row.count >= kMostInARow) {
    record.gave_up = record.gave_up || act;
    return {HealStep::refused, HealWhy::gave_up, {}};
  }
  if (in_window(record, act, now) >= std::min(rule.budget, kMostHealBudget))
    return {HealStep::refused, HealWhy::budget_spent, {}};
  const auto pause = row.count == 0 ? milliseconds(0) : pause_after(row.count);
  if (row.since_last < pause)
    return {HealStep::refused, HealWhy::backing_off, pause - row.since_last};
  remember(record, act, facts, now);
  return {act ? HealStep::restart : HealStep::would_restart, HealWhy::none, {}};
}

void started_by_hand(HealRecord& record) {
  record.gave_up = false;
  record.well_since.reset();
}

std::string describe(const HealDecision& decision, const HealFacts& facts, const HealRule& rule,
                     const std::string& service) {
  const std::string by_hand = "; by hand: gpuward restart " + service;
  switch (decision.step) {
    case HealStep::nothing:
      return {};
    case HealStep::restart:
      return facts.verdict + ": restarted by 'heal = \"act\"'";
    case HealStep::would_restart:
      return facts.verdict + ": with 'heal = \"act\"' it would be restarted now" + by_hand;
    case HealStep::refused:
      break;
  }
  const std::string no = facts.verdict + ": not restarted: ";
  switch (decision.why) {
    case HealWhy::one_witness:
      return no + "only " + std::to_string(facts.witnesses) + " of " + std::to_string(kWitnesses) +
             " independent witnesses says so" + by_hand;
    case HealWhy::progress:
      return no + "it makes progress, and busy is never dead";
    case HealWhy::not_running:
      return no + "it is not up";
    case HealWhy::restarts_blocked:
      return no +
             "the driver was changed underneath, and no new process could use a card before a "
             "reboot";
    case HealWhy::ever_restored:
      return no + "it was once restored by the driver, and ending it can hang this machine";
    case HealWhy::unkillable:
      return no + "processes of it are left that the kernel does not end";
    case HealWhy::card_out_of_use:
      return no + "its card is out of use: gpuward status";
    case HealWhy::backing_off:
      return no + "it is sick again after a restart; the next in " + to_string(decision.wait);
    case HealWhy::gave_up:
      return no + "restarting does not help, given up as FAILED; advice: gpuward logs " + service +
             by_hand;
    case HealWhy::budget_spent:
      return no + "its budget of " + std::to_string(rule.budget) + " a day is spent" + by_hand;
    case HealWhy::none:
      break;
  }
  return no + "by no rule";
}

}  // namespace gpuward
