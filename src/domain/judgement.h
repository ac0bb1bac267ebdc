#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "domain/service_facts.h"
#include "domain/verdict.h"

// From facts and time to a verdict. Pure: the same facts, memory and time give the same answer.
//
// A service whose anchor says that it is not ready is what its anchor says. One that is ready is
// HEALTHY until something speaks against it, and what speaks against it is weighed like this:
//
//   certain at once     an Xid with the pid of a process that lives; a context that the driver does
//                       not list any more while its process lives, still does a look later, and
//                      says itself that CUDA fails
//   only with patience  everything else: it must hold for as long as said below, without a gap in
//                       what was seen, while nothing at all moves (GPU, CPU, storage, bytes out)
//   never               what cannot be seen; what is merely missing (lazy start, MPS, namespaces,
//                       parked, an idle engine that gave its context back)

namespace gpuward {

/// A verdict changes neither to nor from a soft cause before it has held for this long.
inline constexpr auto kHysteresis = std::chrono::seconds(3);
/// So long after the first look without its context a process still lives, before the two together
/// are certain: what ends gives its context back first. One look at the cards, with some room.
inline constexpr auto kSecondSight = std::chrono::milliseconds(900);
/// Wanted for this long, with nothing moving, before the missing context is called a ghost.
inline constexpr auto kStill = std::chrono::seconds(10);
/// The same where nothing but the waiting itself speaks against it.
inline constexpr auto kStalled = std::chrono::seconds(60);
inline constexpr auto kSpinning = std::chrono::seconds(60);
/// Facts that are further apart than this do not prove that what both show held in between.
inline constexpr auto kLongestGap = std::chrono::seconds(5);

/// What a decision stands on. Bits: each is one line of evidence.
namespace because {
inline constexpr std::uint32_t xid = 1U << 0;
inline constexpr std::uint32_t context_gone = 1U << 1;
inline constexpr std::uint32_t log_alarm = 1U << 2;
inline constexpr std::uint32_t failed_answers = 1U << 3;
inline constexpr std::uint32_t canary_failed = 1U << 4;
inline constexpr std::uint32_t wanted = 1U << 5;
inline constexpr std::uint32_t nothing_moves = 1U << 6;
inline constexpr std::uint32_t no_device_files = 1U << 7;
inline constexpr std::uint32_t no_gpu_time = 1U << 8;
inline constexpr std::uint32_t beyond_usual = 1U << 9;
inline constexpr std::uint32_t canary_changed = 1U << 10;
inline constexpr std::uint32_t card_lost = 1U << 11;
inline constexpr std::uint32_t nothing_in_flight = 1U << 12;
}  // namespace because

struct Decision {
  Verdict verdict = Verdict::stopped;
  Action action = Action::none;
  /// Independent sources that speak against the service: the driver's list, the kernel log, its own
  /// log, its answers, its device files. Whoever acts needs two (harm.md 6).
  std::uint8_t witnesses = 0;
  std::uint32_t reasons = 0;  ///< bits of `because`
  Instant since{};            ///< of the verdict
  friend bool operator==(const Decision&, const Decision&) = default;
};

/// What must be remembered of a service between two looks. The caller keeps one for each and gives
/// the same one back; a new one loses nothing but patience.
struct VerdictMemory {
  std::optional<Decision> current;
  Phase phase = Phase::idle;
  std::uint32_t generation = 0;
  Instant seen{};                    ///< when the facts were judged last
  std::optional<Verdict> candidate;  ///< what it would be, were it not for the hysteresis
  Instant candidate_since{};
  ProgressFacts progress;  ///< at `progress_at`
  Instant progress_at{};
  Instant moved{};                      ///< when anything last moved
  Instant busy{};                       ///< when its GPU was last busy, or could not be told
  Instant sent{};                       ///< when bytes last went out, or could not be told
  std::optional<Instant> wanted_since;  ///< somebody waits for it, without a break
  std::optional<Instant> gone_since;    ///< its context is missing, without a break
  std::optional<Instant> full_since;    ///< its GPU is busy with nothing in flight, likewise
};

/// The verdict now. Calls may come at any pace; @p now must not go backwards.
Decision decide(const ServiceFacts& facts, VerdictMemory& memory, Instant now);

/// May something be done on the decision that is remembered? Not when its facts are from longer ago
/// than kLongestGap, as of a service whose anchor is away.
bool is_fresh(const VerdictMemory& memory, Instant now);

/// A decision in words.
struct Judgement {
  Decision decision;
  /// For people, without the code. Empty: it is what the anchor says, see sentence_on().
  std::string sentence;
  std::vector<Evidence> evidence;
};
Judgement explain(const ServiceFacts& facts, const Decision& decision, Instant now);

/// decide() and explain().
Judgement judge_service(const ServiceFacts& facts, VerdictMemory& memory, Instant now);

}  // namespace gpuward
