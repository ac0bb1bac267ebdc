#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/problem.h"

namespace gpuward::config {

/// Collects the problems of one file and knows the file's lines, so that nobody else has to.
/// Looks at @p text for as long as it lives.
class Report {
 public:
  Report(std::string_view file, std::string_view text);

  /// Line and column from 1; a line beyond the end has an empty source line.
  Place place(unsigned line, unsigned column) const;
  void add(const Place& place, std::string what, std::string expected = {});
  /// Adds problems of another file, one that this file points to.
  void add_elsewhere(std::vector<Problem> problems);

  /// Those of this file from the @p first on.
  std::vector<Problem> from(std::size_t first) const {
    return {problems_.begin() + static_cast<std::ptrdiff_t>(first), problems_.end()};
  }
  std::size_t count_here() const { return problems_.size(); }
  std::size_t size() const { return problems_.size() + elsewhere_.size(); }
  /// All problems in the order they came, those of other files last.
  std::vector<Problem> release();

 private:
  std::string file_;
  std::vector<std::string_view> lines_;
  std::vector<Problem> problems_;
  std::vector<Problem> elsewhere_;
};

/// The lines of @p text without "\n" or "\r\n".
std::vector<std::string_view> split_lines(std::string_view text);

}  // namespace gpuward::config
