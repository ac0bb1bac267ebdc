#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gpuward::cli {

/// May this output be coloured: a terminal, TERM is not "dumb", NO_COLOR is not set.
bool colour_on(int fd);

enum class Tone { plain, good, warn, bad, faint };
/// @p text in that tone on standard output, or unchanged where colour is off.
std::string paint(Tone tone, std::string_view text);

/// A table with aligned columns, for people. The widths count characters, not bytes.
class Table {
 public:
  explicit Table(std::vector<std::string> head);
  void row(std::vector<std::string> cells, Tone tone = Tone::plain);
  /// Columns apart by two blanks, the head in faint; the last column is not padded.
  std::string text() const;
  bool empty() const { return rows_.empty(); }

 private:
  struct Row {
    std::vector<std::string> cells;
    Tone tone;
  };
  std::vector<std::string> head_;
  std::vector<Row> rows_;
};

/// One block a value, its height the share of @p most (values beyond count as most).
std::string sparkline(const std::vector<double>& values, double most);

}  // namespace gpuward::cli
