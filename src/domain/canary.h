#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.h"
#include "domain/service.h"
#include "domain/service_facts.h"

// What came of the questions that gpuward asks a service itself. Pure.

namespace gpuward {

/// What came of one. The numbers travel and never change meaning.
enum class CanaryResult : std::uint8_t {
  none = 0,        ///< nothing yet
  right = 1,       ///< the status, and the answer where one is known
  busy = 2,        ///< its own word: 408, 429, 503, 504. No fact against it
  late = 3,        ///< something came, and not all of it in time. No fact against it
  silent = 4,      ///< nothing came in time
  failed = 5,      ///< another 5xx, a refused connection, or no answer in HTTP
  unexpected = 6,  ///< another status, where no answer is known: the question may be wrong
  changed = 7,     ///< another answer than the known one, or another status
};
/// "right": a contract of the JSON output.
std::string_view to_string(CanaryResult result);

/// What an answer with the status @p status is before its text is looked at.
CanaryResult judge_status(const Canary& canary, std::uint32_t status);

/// What is remembered of the questions to one service.
struct CanaryTally {
  CanaryFacts facts;
  CanaryResult last = CanaryResult::none;
  std::string detail;  ///< of the last: "answered 200". Nothing of an answer (harm.md 11)
  std::uint64_t ended = 0;
  std::uint32_t alike = 0;  ///< the last so many came to the same
  /// What holds for more than a moment: right, or twice in a row failed, unexpected or changed.
  CanaryResult settled = CanaryResult::none;
};

/// Takes down what came of one. @return whether that changed what holds, and is worth a line in the
/// ledger.
bool note(CanaryTally& tally, CanaryResult result, std::string detail, Instant now);

/// A new process of the service: what the old one answered says nothing of it.
void begin_anew(CanaryTally& tally);

/// From the end of a question that took @p took to the next one: `every`, and longer where answers
/// are slow, so that a service never spends more than a fifth of its time on them.
std::chrono::milliseconds pause_after(const Canary& canary, std::chrono::milliseconds took);

/// What `status`, `explain` and the metrics tell.
struct CanaryReport {
  std::string question;  ///< "POST 127.0.0.1:4711/analyze every 1 min"
  bool golden = false;   ///< its answer is known
  CanaryResult last = CanaryResult::none;
  std::string detail;
  double age_seconds = 0;  ///< of the last
  std::uint64_t ended = 0;
  std::uint32_t failed_in_a_row = 0;
  std::uint32_t silent_in_a_row = 0;
  std::uint32_t changed_in_a_row = 0;
  std::string trouble;  ///< why it cannot be asked; empty: it can
};
/// "answered as known (200), 12 s ago" or why nothing was asked; one sentence.
std::string describe(const CanaryReport& report);

}  // namespace gpuward
