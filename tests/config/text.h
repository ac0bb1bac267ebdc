#pragma once

#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include "config/config.h"

namespace gpuward::config {

/// Files for env_file, by path; everything else does not exist.
using Files = std::map<std::string, std::string>;

inline Parsed parse_text(std::string_view text, const Files& files = {},
                         std::string folder = "/etc/gpuward") {
  const Resolver resolver{[&files](const std::string& path) -> Result<std::string> {
                            const auto found = files.find(path);
                            if (found == files.end()) return fail(error_from(ENOENT, "read", path));
                            return found->second;
                          },
                          std::move(folder)};
  return parse(text, "x.toml", resolver);
}

/// "line:column: what, expected ...": what a reader sees, without file and source line.
inline std::vector<std::string> heads(const std::vector<Problem>& problems) {
  std::vector<std::string> out;
  for (const Problem& problem : problems) {
    std::string text = render(problem);
    text.resize(std::min(text.find('\n'), text.size()));
    if (text.starts_with("x.toml:")) text.erase(0, 7);
    out.push_back(text);
  }
  return out;
}

/// The problems of one service whose command is fine and takes {port}; @p keys begin on line 3.
inline std::vector<std::string> problems_of(std::string_view keys, const Files& files = {}) {
  return heads(
      parse_text("[service.a]\ncommand = [\"srv\", \"{port}\"]\n" + std::string(keys), files)
          .problems);
}

using Lines = std::vector<std::string>;

}  // namespace gpuward::config
