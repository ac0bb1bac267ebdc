#include "config/report.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace gpuward::config {

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

Report::Report(std::string_view file, std::string_view text)
    : file_(file), lines_(split_lines(text)) {}

Place Report::place(unsigned line, unsigned column) const {
  Place place{file_, line, column, {}};
  if (line > 0 && line <= lines_.size()) place.source_line = lines_[line - 1];
  return place;
}

void Report::add(const Place& place, std::string what, std::string expected) {
  problems_.push_back(problem_at(place, std::move(what), std::move(expected)));
}

void Report::add_elsewhere(std::vector<Problem> problems) {
  std::ranges::move(problems, std::back_inserter(elsewhere_));
}

std::vector<Problem> Report::release() {
  std::ranges::move(elsewhere_, std::back_inserter(problems_));
  elsewhere_.clear();
  return std::exchange(problems_, {});
}

}  // namespace gpuward::config
