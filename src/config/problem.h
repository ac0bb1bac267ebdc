#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gpuward::config {

/// Where something was written, kept so that later checks can point at it.
struct Place {
  std::string file;
  unsigned line = 0;        ///< from 1; 0 means the file as a whole
  unsigned column = 0;      ///< from 1, in code points: a tab counts as one
  std::string source_line;  ///< the whole line, without its end

  friend bool operator==(const Place&, const Place&) = default;
};

/// Something an operator has to change, with its place. Text only: nothing here is parsed again.
struct Problem {
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
  std::string what;      ///< "'stop.grace' has no unit"
  std::string expected;  ///< "\"10s\""; empty when `what` says it all
  std::string source_line;

  friend bool operator==(const Problem&, const Problem&) = default;
};

Problem problem_at(const Place& place, std::string what, std::string expected = {});

/// "file:line:col: what, expected ...", then the line and a caret below the place. Bytes a terminal
/// would act on are shown as '?', a very long line is cut around the place. No newline at the end.
std::string render(const Problem& problem);

/// Each of them, with a newline after it.
std::string render(const std::vector<Problem>& problems);

/// "file:line:col", for a message that names a second place.
std::string render(const Place& place);

/// Sorts by file, then by line and column, and drops what is said twice. Files come in the order of
/// @p files, then in the order they are met.
void sort_by_place(std::vector<Problem>& problems, std::span<const std::string> files = {});

/// @p word in single quotes, cut with '…' when it is long.
std::string in_quotes(std::string_view word);

}  // namespace gpuward::config
