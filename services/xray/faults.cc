#include "xray/faults.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace gpuward::xray {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
std::uint64_t mixed(std::uint64_t value) {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27U)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31U);
}

}  // namespace

Result<FaultPlan> FaultPlan::parse(std::string_view text, std::uint64_t seed) {
  FaultPlan plan;
  plan.seed_ = seed;
  while (!text.empty()) {
    const auto item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(item.size() + 1, text.size()));
    const auto colon = item.find(':');
    const auto name = std::ranges::find(kFaultNames, item.substr(0, colon));
    if (name == kFaultNames.end())
      return fail(Errc::invalid, "unknown fault '" + std::string(item.substr(0, colon)) +
                                     "' (known: hang, leak, linger, crash, ghost, stubborn)");
    double probability = -1;
    if (colon != std::string_view::npos) {
      const auto value = item.substr(colon + 1);
      const auto [end, code] =
          std::from_chars(value.data(), value.data() + value.size(), probability);
      if (code != std::errc{} || end != value.data() + value.size()) probability = -1;
    }
    if (!(probability >= 0 && probability <= 1))
      return fail(Errc::invalid,
                  "fault '" + std::string(*name) + "' needs a probability of 0 to 1, as hang:0.2");
    plan.probability_[static_cast<std::size_t>(name - kFaultNames.begin())] = probability;
  }
  return plan;
}

bool FaultPlan::drawn(Fault fault, std::uint64_t job) const {
  const auto draw =
      mixed(mixed(seed_) ^ mixed(job * kFaultNames.size() + static_cast<std::uint64_t>(fault)));
  return static_cast<double>(draw >> 11U) * 0x1p-53 < probability(fault);
}

bool FaultPlan::any() const {
  return std::ranges::any_of(probability_, [](double value) { return value > 0; });
}

}  // namespace gpuward::xray
