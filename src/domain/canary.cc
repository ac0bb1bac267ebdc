#include "domain/canary.h"

#include <algorithm>
#include <utility>

namespace gpuward {
namespace {

constexpr int kShare = 4;  // so many times as long as it took, it is left alone
constexpr std::uint32_t kEnough = 2;

}  // namespace

std::string_view to_string(CanaryResult result) {
  switch (result) {
    case CanaryResult::none:
      return "none";
    case CanaryResult::right:
      return "right";
    case CanaryResult::busy:
      return "busy";
    case CanaryResult::late:
      return "late";
    case CanaryResult::silent:
      return "silent";
    case CanaryResult::failed:
      return "failed";
    case CanaryResult::unexpected:
      return "unexpected";
    case CanaryResult::changed:
      return "changed";
  }
  return "unknown";
}

CanaryResult judge_status(const Canary& canary, std::uint32_t status) {
  if (canary.status != 0 ? status == canary.status : status >= 200 && status < 400)
    return CanaryResult::right;
  if (status == 408 || status == 429 || status == 503 || status == 504) return CanaryResult::busy;
  if (status >= 500) return CanaryResult::failed;
  return canary.answer_file.empty() ? CanaryResult::unexpected : CanaryResult::changed;
}

bool note(CanaryTally& tally, CanaryResult result, std::string detail, Instant now) {
  CanaryFacts& facts = tally.facts;
  facts.failed_in_a_row = result == CanaryResult::failed ? facts.failed_in_a_row + 1 : 0;
  facts.silent_in_a_row = result == CanaryResult::silent ? facts.silent_in_a_row + 1 : 0;
  // An answer that was wrong is made good by a right one alone, not by silence.
  if (result == CanaryResult::changed) {
    ++facts.changed_in_a_row;
    facts.changed_where = detail;
  } else if (result == CanaryResult::right) {
    facts.changed_in_a_row = 0;
    facts.changed_where.clear();
  }
  facts.last = now;
  tally.alike = tally.last == result ? tally.alike + 1 : 1;
  tally.last = result;
  tally.detail = std::move(detail);
  ++tally.ended;
  const bool bad = result == CanaryResult::failed || result == CanaryResult::unexpected ||
                   result == CanaryResult::changed;
  const bool holds = result == CanaryResult::right || (bad && tally.alike >= kEnough);
  if (!holds || tally.settled == result) return false;
  const auto before = std::exchange(tally.settled, result);
  return before != CanaryResult::none || bad;
}

void begin_anew(CanaryTally& tally) {
  const auto settled = tally.settled;
  tally = CanaryTally();
  tally.settled = settled;
}

std::chrono::milliseconds pause_after(const Canary& canary, std::chrono::milliseconds took) {
  return std::max(canary.every, took * kShare);
}

std::string describe(const CanaryReport& report) {
  if (!report.trouble.empty()) return "not asked: " + report.trouble;
  if (report.last == CanaryResult::none) return "not answered yet";
  const auto age = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(report.age_seconds));
  return report.detail + ", " + to_string(age) + " ago";
}

}  // namespace gpuward
