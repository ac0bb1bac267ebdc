#include "domain/glob.h"

namespace gpuward {

bool glob_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;  // the last '*' met, and
  std::size_t after = 0;                      // where the text goes on behind what it stands for
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++after;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string_view release_fault(std::string_view pattern) {
  if (pattern.empty()) return "is empty";
  if (pattern.size() > kLongestReleasePattern) return "is longer than 200 bytes";
  if (pattern.find_first_not_of("*? ") == pattern.npos) return "would hand over every process";
  if (pattern.find_first_of("\n\t") != pattern.npos) return "holds a tab or a new line";
  return {};
}

}  // namespace gpuward
