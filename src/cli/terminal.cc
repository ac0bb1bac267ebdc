#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/utf8.h"

namespace gpuward::cli {
bool colour_on(int fd) {
  static const bool allowed = [] {
    const char* term = std::getenv("TERM");
    return std::getenv("NO_COLOR") == nullptr && term != nullptr &&
           std::string_view(term) != "dumb";
  }();
  return allowed && ::isatty(fd) == 1;
}

std::string paint(Tone tone, std::string_view text) {
  if (tone == Tone::plain || text.empty() || !colour_on(STDOUT_FILENO)) return std::string(text);
  const char* code = "0";
  switch (tone) {
    case Tone::good:
      code = "32";
      break;
    case Tone::warn:
      code = "33";
      break;
    case Tone::bad:
      code = "31";
      break;
    case Tone::faint:
      code = "2";
      break;
    case Tone::plain:
      break;
  }
  return std::string("\x1b[") + code + "m" + std::string(text) + "\x1b[0m";
}

std::string sparkline(const std::vector<double>& values, double most) {
  static constexpr std::array<std::string_view, 8> kBlocks = {"▁", "▂", "▃", "▄",
                                                              "▅", "▆", "▇", "█"};
  std::string line;
  for (const double value : values) {
    const double share = std::clamp(value / most, 0.0, 1.0);
    line += kBlocks[std::min(kBlocks.size() - 1, static_cast<std::size_t>(share * 8))];
  }
  return line;
}

Table::Table(std::vector<std::string> head) : head_(std::move(head)) {}

void Table::row(std::vector<std::string> cells, Tone tone) {
  cells.resize(head_.size());
  rows_.push_back({std::move(cells), tone});
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t column = 0; column < head_.size(); ++column) {
    std::size_t width = display_width(head_[column]);
    for (const auto& row : rows_) width = std::max(width, display_width(row.cells[column]));
    widths.push_back(width);
  }
  auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t column = 0; column < cells.size(); ++column) {
      text += cells[column];
      if (column + 1 < cells.size())
        text.append(widths[column] - display_width(cells[column]) + 2, ' ');
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
  };
  std::string text = paint(Tone::faint, line(head_)) + "\n";
  for (const auto& row : rows_) text += paint(row.tone, line(row.cells)) + "\n";
  return text;
}

}  // namespace gpuward::cli
