#include "domain/exposition.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "base/utf8.h"

namespace gpuward {

void Exposition::begin(std::string_view name, std::string_view help, std::string_view type) {
  name_ = name;
  head_ = "# HELP " + name_ + " ";
  head_.append(help).append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
}

void Exposition::sample(const Labels& labels, double value) {
  text_.append(std::exchange(head_, {})).append(name_);
  char before = '{';
  for (const auto& [name, text] : labels) {
    text_ += std::exchange(before, ',');
    text_.append(name).append("=\"").append(label_value(text)).append("\"");
  }
  if (before == ',') text_ += '}';
  char digits[32] = {};
  const auto end = std::to_chars(digits, digits + sizeof digits, value);
  text_.append(" ");
  if (std::isfinite(value))
    text_.append(digits, end.ptr);
  else
    text_.append("NaN");
  text_.append("\n");
}

std::string label_value(std::string_view text) {
  std::string value;
  for (const char c : printable(text)) {
    if (c == '"' || c == '\\') value += '\\';
    value += c;
  }
  return value;
}

}  // namespace gpuward
