#include "config/placeholder.h"

namespace gpuward::config {

std::vector<Placeholder> placeholders(std::string_view text) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  std::vector<Placeholder> found;
  for (std::size_t open = text.find('{'); open != std::string_view::npos;
       open = text.find('{', open + 1)) {
    std::size_t end = open + 1;
    while (end < text.size() && is_word(text[end])) ++end;
    if (end == open + 1 || end == text.size() || text[end] != '}') continue;
    const char before = open > 0 ? text[open - 1] : ' ';
    const bool count = text[open + 1] >= '0' && text[open + 1] <= '9';  // a{3} in a pattern
    if (before == '{' || count) continue;
    found.push_back({text.substr(open, end + 1 - open), before == '$'});
  }
  return found;
}

}  // namespace gpuward::config
