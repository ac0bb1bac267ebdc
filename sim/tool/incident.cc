#include "tool/incident.h"

#include <algorithm>

namespace gpuward::gpusim::tool {
namespace {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Nanoseconds of a unit; 0: there is no such unit.
std::uint64_t unit_ns(std::string_view unit) {
  if (unit == "ns") return 1;
  if (unit == "us") return 1000;
  if (unit == "ms") return 1'000'000;
  if (unit == "s") return 1'000'000'000;
  if (unit == "m") return std::uint64_t{60} * 1'000'000'000;
  if (unit == "h") return std::uint64_t{3600} * 1'000'000'000;
  return 0;
}

std::string_view take_digits(std::string_view& text) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  const std::string_view digits = text.substr(0, count);
  text.remove_prefix(count);
  return digits;
}

std::uint64_t number_of(std::string_view digits) {
  std::uint64_t number = 0;
  for (const char digit : digits) number = number * 10 + static_cast<unsigned>(digit - '0');
  return number;
}

/// A word in quotes; @p line begins after the first of them. @return why not, or empty.
std::string take_quoted(std::string_view& line, std::string& word) {
  while (!line.empty()) {
    char c = line.front();
    line.remove_prefix(1);
    if (c == '"') return {};
    if (c == '\\') {
      if (line.empty() || (line.front() != '"' && line.front() != '\\')) {
        return "a backslash in quotes stands before \" or \\ only";
      }
      c = line.front();
      line.remove_prefix(1);
    }
    word += c;
  }
  return "a quote is not closed";
}

/// @return why not, or empty.
std::string split(std::string_view line, std::vector<std::string>& words) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  for (;;) {
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    if (line.empty() || line.front() == '#') return {};
    if (words.size() == kMaxWords) return "more than " + std::to_string(kMaxWords) + " words";
    std::string word;
    while (!line.empty() && !is_blank(line.front())) {
      const char c = line.front();
      line.remove_prefix(1);
      if (c != '"') {
        word += c;
      } else if (std::string why = take_quoted(line, word); !why.empty()) {
        return why;
      }
    }
    words.push_back(std::move(word));
  }
}

class Reader {
 public:
  Incident read(std::string_view text) {
    if (text.size() > kMaxIncidentBytes) {
      complain(1, "the file has more than " + std::to_string(kMaxIncidentBytes >> 10) + " KiB");
      return std::move(found_);
    }
    for (unsigned number = 1; !text.empty(); ++number) {
      const std::size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (!read_line(number, line)) break;
    }
    return std::move(found_);
  }

 private:
  void complain(unsigned line, std::string what) {
    found_.problems.push_back({line, std::move(what)});
  }

  /// False when nothing more is to be read.
  bool read_line(unsigned number, std::string_view line) {
    const auto is_control = [](char c) {
      return static_cast<unsigned char>(c) < 0x20 && c != '\t';
    };
    if (std::any_of(line.begin(), line.end(), is_control)) {
      complain(number, "a byte that is no text");
      return true;
    }
    Step step;
    step.line = number;
    step.at_ns = now_;
    if (const std::string why = split(line, step.words); !why.empty()) {
      complain(number, why);
      return true;
    }
    if (step.words.empty()) return true;
    if (found_.steps.size() == kMaxSteps) {
      complain(number, "more than " + std::to_string(kMaxSteps) + " steps");
      return false;
    }
    const char first = step.words.front().empty() ? 'x' : step.words.front().front();
    if (first == '+' || is_digit(first)) {
      if (!read_time(step)) return true;
      step.words.erase(step.words.begin());
    }
    if (step.words.empty()) {
      complain(number, "a time, but nothing to do then");
      return true;
    }
    now_ = step.at_ns;
    found_.steps.push_back(std::move(step));
    return true;
  }

  bool read_time(Step& step) {
    std::string_view text = step.words.front();
    const bool relative = text.front() == '+';
    if (relative) text.remove_prefix(1);
    std::uint64_t ns = 0;
    if (!parse_offset(text, ns)) {
      complain(step.line, "'" + step.words.front() + "' is no time of at most 1 h; 1.5s, +200ms");
      return false;
    }
    step.at_ns = relative ? now_ + ns : ns;
    if (step.at_ns < now_) {
      complain(step.line, "'" + step.words.front() + "' is before the time of the step above");
      return false;
    }
    if (step.at_ns > kMaxIncidentNs) {
      complain(step.line, "the incident takes more than 1 h");
      return false;
    }
    return true;
  }

  Incident found_;
  std::uint64_t now_ = 0;
};

}  // namespace

bool parse_offset(std::string_view text, std::uint64_t& ns) {
  constexpr std::size_t kMaxDigits = 9;
  const std::string_view whole = take_digits(text);
  if (whole.empty() || whole.size() > kMaxDigits) return false;
  std::string_view part;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    part = take_digits(text);
    if (part.empty() || part.size() > kMaxDigits) return false;
  }
  const std::uint64_t unit = unit_ns(text);
  if (unit == 0) return false;
  if (number_of(whole) > kMaxIncidentNs / unit) return false;
  ns = number_of(whole) * unit;
  std::uint64_t scale = unit;
  for (const char digit : part) {
    scale /= 10;
    ns += scale * static_cast<unsigned>(digit - '0');
  }
  return ns <= kMaxIncidentNs;
}

Incident parse_incident(std::string_view text) {
  return Reader().read(text);
}

bool is_name(std::string_view text) {
  if (text.empty() || text.size() > 15 || !is_letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; });
}

}  // namespace gpuward::gpusim::tool
