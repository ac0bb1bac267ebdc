#include "config/problem.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"

namespace gpuward::config {
namespace {

constexpr std::size_t kShownColumns = 160;  // of a source line; the rest is cut
constexpr std::size_t kShownBefore = 60;    // of these, before the place

// The source line and the caret below it. Tabs before the caret are repeated, so both lines meet at
// whatever width the terminal gives a tab.
std::string line_and_caret(std::string_view line, std::size_t column) {
  std::vector<Glyph> glyphs;
  while (!line.empty()) glyphs.push_back(take_glyph(line));
  const std::size_t place = std::min(column > 0 ? column - 1 : 0, glyphs.size());
  const std::size_t first =
      glyphs.size() > kShownColumns && place > kShownBefore ? place - kShownBefore : 0;
  const std::size_t last = std::min(glyphs.size(), first + kShownColumns);

  std::string shown = first > 0 ? "…" : "";
  std::string blank = first > 0 ? " " : "";
  for (std::size_t i = first; i < last; ++i) {
    shown += glyphs[i].bytes;
    if (i >= place) continue;
    if (glyphs[i].code == '\t')
      blank += '\t';
    else
      blank.append(cells_of(glyphs[i].code), ' ');
  }
  if (last < glyphs.size()) shown += "…";
  return "\n  " + shown + "\n  " + blank + "^";
}

}  // namespace

Problem problem_at(const Place& place, std::string what, std::string expected) {
  return {place.file,      place.line,          place.column,
          std::move(what), std::move(expected), place.source_line};
}

std::string render(const std::vector<Problem>& problems) {
  std::string text;
  for (const auto& problem : problems) text += render(problem) + "\n";
  return text;
}

std::string render(const Place& place) {
  std::string text = place.file;
  if (place.line > 0) text += ":" + std::to_string(place.line) + ":" + std::to_string(place.column);
  return text;
}

std::string render(const Problem& problem) {
  std::string text = render(Place{problem.file, problem.line, problem.column, {}});
  text = printable(text) + ": " + printable(problem.what);
  if (!problem.expected.empty()) text += ", expected " + printable(problem.expected);
  if (problem.line > 0) text += line_and_caret(problem.source_line, problem.column);
  return text;
}

void sort_by_place(std::vector<Problem>& problems, std::span<const std::string> files) {
  std::map<std::string, std::size_t> rank;
  for (const std::string& file : files) rank.try_emplace(file, rank.size());
  for (const Problem& problem : problems) rank.try_emplace(problem.file, rank.size());
  const auto key = [&](const Problem& p) {
    return std::tuple(rank[p.file], p.line, p.column, std::string_view(p.what));
  };
  std::ranges::sort(problems, {}, key);
  const auto repeated = std::ranges::unique(problems);
  problems.erase(repeated.begin(), repeated.end());
}

std::string in_quotes(std::string_view word) {
  std::string text = "'";
  text += Text<80>(word).view();
  return text + "'";
}

}  // namespace gpuward::config
