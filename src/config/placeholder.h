#pragma once

#include <string_view>
#include <vector>

namespace gpuward::config {

/// A word in braces: {name}. Not {{name}}, which is a template's, and not a{3}, a pattern's.
struct Placeholder {
  std::string_view text;  ///< with its braces; part of the text that was searched
  bool after_dollar;      ///< ${name}, which is a shell's
};
std::vector<Placeholder> placeholders(std::string_view text);

}  // namespace gpuward::config
