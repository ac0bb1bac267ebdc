#include "cli/user_name.h"

#include <algorithm>

namespace gpuward::cli {

std::string user_name(unsigned uid, std::string_view passwd) {
  while (!passwd.empty()) {
    const auto line = passwd.substr(0, passwd.find('\n'));
    passwd.remove_prefix(std::min(line.size() + 1, passwd.size()));
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string_view::npos || second == std::string_view::npos) continue;
    const auto rest = line.substr(second + 1);
    if (rest.substr(0, rest.find(':')) == std::to_string(uid))
      return std::string(line.substr(0, first));
  }
  return std::to_string(uid);
}

}  // namespace gpuward::cli
