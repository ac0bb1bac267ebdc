#pragma once

#include <algorithm>
#include <string_view>

namespace gpuward {

/// Calls @p visit(line, controllers, path) for each line of /proc/PID/cgroup (cgroups(7)):
/// "0::/path" of the version 2 hierarchy, which has no controllers here, "N:controllers:/path" of
/// version 1.
template <class Visit>
void for_each_cgroup_line(std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    visit(line, line.substr(first + 1, second - first - 1), line.substr(second + 1));
  }
}

}  // namespace gpuward
