#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace gpuward::xray {

/// How the service may misbehave, after what was seen of the article's app; docs/xray.md defines
/// each.
enum class Fault { hang, leak, linger, crash, ghost, stubborn };
inline constexpr std::array<std::string_view, 6> kFaultNames = {"hang",  "leak",  "linger",
                                                                "crash", "ghost", "stubborn"};

/// Which job misbehaves how. A pure function of seed, job number and fault: the same plan gives the
/// same jobs the same faults, whatever the order in which they run.
class FaultPlan {
 public:
  FaultPlan() = default;
  /// "hang:0.2,linger:1". Errors: invalid for unknown names and for probabilities outside 0..1.
  static Result<FaultPlan> parse(std::string_view text, std::uint64_t seed);

  bool drawn(Fault fault, std::uint64_t job) const;
  double probability(Fault fault) const { return probability_[static_cast<std::size_t>(fault)]; }
  bool any() const;

 private:
  std::array<double, kFaultNames.size()> probability_{};
  std::uint64_t seed_ = 0;
};

}  // namespace gpuward::xray
