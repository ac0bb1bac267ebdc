#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "domain/holder.h"

namespace gpuward {

/// The explicit rule without which no STRANGER is ever ended: table [reap], key `strangers`. All
/// that is written must hold. At least the command or the cgroup is written: a user alone would
/// name everything of theirs.
struct StrangerRule {
  std::string user;     ///< whose process it is, by name or number; empty: anybody's
  std::string command;  ///< pattern (glob.h) of its whole command line; empty: any
  std::string cgroup;   ///< pattern of the path of one of its cgroups; empty: any
  std::chrono::milliseconds idle{std::chrono::minutes(10)};  ///< without CPU and GPU for so long
  friend bool operator==(const StrangerRule&, const StrangerRule&) = default;
};
inline constexpr std::size_t kMostStrangerRules = 64;

/// Does @p rule name this process? @p user: its owner's name. @p cgroups: its /proc/PID/cgroup.
/// One whose idleness nobody has watched is not idle, unless the rule asks for none. Only a
/// STRANGER is ever named.
bool names(const StrangerRule& rule, const HolderReport& holder, const std::string& user,
           const std::string& cgroups);

}  // namespace gpuward
