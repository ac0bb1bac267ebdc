#include "cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

namespace gpuward::cli {
namespace {

// The blocks of wide characters that names and reports really use: CJK, Hangul, full-width forms.
bool is_wide(std::uint32_t c) {
  return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) ||
         (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
         (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) ||
         (c >= 0x20000 && c <= 0x3fffd);
}

}  // namespace

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

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    std::uint32_t code = length == 1 ? lead : lead & (0x7fU >> length);
    for (std::size_t n = 1; n < length && at + n < text.size(); ++n)
      code = code << 6 | (static_cast<unsigned char>(text[at + n]) & 0x3fU);
    width += is_wide(code) ? 2 : 1;
    at += length;
  }
  return width;
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
