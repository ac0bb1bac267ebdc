#include "domain/stranger_rule.h"

#include <algorithm>
#include <string_view>

#include "domain/glob.h"

namespace gpuward {
namespace {

bool in_group(std::string_view pattern, std::string_view cgroups) {
  while (!cgroups.empty()) {
    const auto end = std::min(cgroups.find('\n'), cgroups.size());
    const auto line = cgroups.substr(0, end);
    cgroups.remove_prefix(std::min(end + 1, cgroups.size()));
    const auto second = line.find(':', line.find(':') + 1);  // "N:controllers:/path"
    if (second != line.npos && glob_matches(pattern, line.substr(second + 1))) return true;
  }
  return false;
}

}  // namespace

bool names(const StrangerRule& rule, const HolderReport& holder, const std::string& user,
           const std::string& cgroups) {
  if (holder.verdict != HolderVerdict::stranger) return false;
  if (rule.command.empty() && rule.cgroup.empty()) return false;
  if (rule.idle.count() > 0) {
    if (!holder.idle_ms) return false;
    if (*holder.idle_ms < static_cast<std::uint64_t>(rule.idle.count())) return false;
  }
  const bool by_number = holder.uid && rule.user == std::to_string(*holder.uid);
  if (!rule.user.empty() && rule.user != user && !by_number) return false;
  if (!rule.command.empty() && !glob_matches(rule.command, holder.command)) return false;
  return rule.cgroup.empty() || in_group(rule.cgroup, cgroups);
}

}  // namespace gpuward
