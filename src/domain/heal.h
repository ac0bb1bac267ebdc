#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "domain/service.h"

namespace gpuward {

// clang-format off
// What gpuward does by itself about a service that was found sick. Pure; first, do no harm
// (harm.md 6). The order of the questions is the policy:
//
//   not sick                                         -> nothing, and after kWellAfter a clean slate
//   a restart could hang the host, kill what works, or
//   cannot come up (restored tree, driver changed,
//   processes that cannot be killed, card out of use) -> nothing but words, and none to do it by hand
//   progress of any kind                             -> nothing: busy is never dead
//   it is not up                                     -> nothing but words
//   fewer than kWitnesses independent witnesses      -> nothing but words
//   it was restarted and is sick again                -> a growing pause, then given up
//   the budget of any 24 hours is spent               -> nothing but words
//   `heal = "observe"`                                -> says that it would restart
//   else                                              -> restarts, once, and remembers
//
// So there is no restart storm by construction: every restart is remembered before it is done, the
// number remembered in any 24 hours bounds those that follow, and what is remembered outlives the
// warden and the machine.
// clang-format on

/// What is known of one service now, as judged elsewhere. All of it is counted by kind: two facts
/// of one source are one witness.
struct HealFacts {
  bool sick = false;     ///< its verdict calls for a restart, beyond its hysteresis
  std::string verdict;   ///< the code: "GHOST_NOCTX"
  std::string evidence;  ///< for the ledger; holds no line of any log
  std::uint32_t witnesses = 0;
  bool progress = false;          ///< GPU busy, bytes out or jobs ended, lately
  bool running = false;           ///< its tree is up: neither ending nor waiting for its next start
  bool restarts_blocked = false;  ///< the driver was changed: no new process could use a card
  bool ever_restored = false;     ///< by the driver's checkpoint (harm.md 1)
  bool unkillable = false;        ///< processes of it are left in state D
  bool card_out_of_use = false;   ///< its card is cordoned, quarantined or lost
};

struct HealRule {
  HealMode mode = HealMode::observe;
  std::uint32_t budget = 3;  ///< restarts in any 24 hours
};

/// Both clocks: civil time outlives a reboot and may jump, the other does neither.
struct HealTime {
  std::int64_t unix_ms = 0;
  std::int64_t monotonic_ns = 0;  ///< of the boot `boot`
  std::string boot;               ///< boot id
};

struct HealRestart {
  HealTime at;
  bool acted = false;  ///< false: it was only said, under `observe`
  std::string verdict;
};

/// What outlives the warden, per service. Bounded: kMostHealBudget of each kind.
struct HealRecord {
  std::string service;
  std::vector<HealRestart> restarts;  ///< oldest first
  bool gave_up = false;  ///< restarting does not help; until it was well or started by hand
  std::optional<HealTime> well_since;
};

enum class HealStep : std::uint8_t {
  nothing,
  would_restart,
  restart,
  refused,  ///< sick, and not restarted: HealDecision::why
};
enum class HealWhy : std::uint8_t {
  none,
  one_witness,
  progress,
  not_running,
  restarts_blocked,
  ever_restored,
  unkillable,
  card_out_of_use,
  backing_off,
  gave_up,
  budget_spent,
};

struct HealDecision {
  HealStep step = HealStep::nothing;
  HealWhy why = HealWhy::none;
  std::chrono::milliseconds wait{0};  ///< of backing_off: so long still
};

inline constexpr std::uint32_t kWitnesses = 2;
inline constexpr auto kHealWindow = std::chrono::hours(24);
/// Sick again within this is the same illness.
inline constexpr auto kRelapseWithin = std::chrono::hours(1);
/// Restarts of one illness, after which it is given up.
inline constexpr std::uint32_t kMostInARow = 3;
/// Well for so long, and what it was given up for is forgotten; its budget is not.
inline constexpr auto kWellAfter = std::chrono::minutes(10);

/// Decides, and remembers a restart in @p record: it has to be on the disk before it is done.
HealDecision step(HealRecord& record, const HealFacts& facts, const HealRule& rule,
                  const HealTime& now);

/// It was started or restarted by a person: what it was given up for is forgotten, its budget not.
void started_by_hand(HealRecord& record);

/// Restarts that count at @p now, of those done or of those that were only said. What both clocks
/// cannot place before the window counts: a clock that was set must not fill the budget again.
std::uint32_t in_window(const HealRecord& record, bool acted, const HealTime& now);

/// One sentence for people and the ledger, as "its budget of 3 restarts a day is spent; advice:
/// ...".
std::string describe(const HealDecision& decision, const HealFacts& facts, const HealRule& rule,
                     const std::string& service);

}  // namespace gpuward
