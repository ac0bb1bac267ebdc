#pragma once

#include <string_view>

namespace gpuward::http {

/// Calls @p each with every non-empty token of a comma-separated field value, without the spaces
/// around it.
template <class Each>
void for_each_token(std::string_view value, Each each) {
  while (!value.empty()) {
    const auto comma = value.find(',');
    auto token = value.substr(0, comma);
    value = comma == std::string_view::npos ? std::string_view{} : value.substr(comma + 1);
    const auto begin = token.find_first_not_of(" \t");
    if (begin == std::string_view::npos) continue;
    token = token.substr(begin, token.find_last_not_of(" \t") - begin + 1);
    each(token);
  }
}

}  // namespace gpuward::http
