#include "xray/language.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>

namespace gpuward::xray {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Thousandths, as "q" has at most three digits; a malformed weight counts as no wish at all.
int weight_of(std::string_view parameter) {
  parameter = trimmed(parameter);
  if (parameter.empty()) return 1000;
  if (parameter.size() < 3 || (parameter[0] != 'q' && parameter[0] != 'Q') || parameter[1] != '=')
    return 0;
  parameter.remove_prefix(2);
  if (parameter.size() > 5 || (parameter[0] != '0' && parameter[0] != '1')) return 0;
  int weight = (parameter[0] - '0') * 1000;
  if (parameter.size() > 1 && parameter[1] != '.') return 0;
  int unit = 100;
  for (std::size_t i = 2; i < parameter.size(); ++i, unit /= 10) {
    if (parameter[i] < '0' || parameter[i] > '9') return 0;
    weight += (parameter[i] - '0') * unit;
  }
  return std::min(weight, 1000);
}

bool is_language(std::string_view range, std::string_view wanted) {
  if (range.size() < wanted.size()) return false;
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (std::tolower(static_cast<unsigned char>(range[i])) != wanted[i]) return false;
  return range.size() == wanted.size() || range[wanted.size()] == '-';
}

}  // namespace

Language choose_language(std::string_view accept_language) {
  std::optional<int> chinese;
  std::optional<int> english;
  std::optional<int> any;
  bool other = false;
  while (!accept_language.empty()) {
    const auto comma = accept_language.find(',');
    const auto wish = accept_language.substr(0, comma);
    accept_language.remove_prefix(comma == std::string_view::npos ? accept_language.size()
                                                                  : comma + 1);
    const auto semicolon = wish.find(';');
    const auto range = trimmed(wish.substr(0, semicolon));
    const int weight =
        semicolon == std::string_view::npos ? 1000 : weight_of(wish.substr(semicolon + 1));
    if (range.empty()) continue;
    if (range == "*")
      any = weight;
    else if (is_language(range, "zh"))
      chinese = std::max(chinese.value_or(0), weight);
    else if (is_language(range, "en"))
      english = std::max(english.value_or(0), weight);
    else
      other = true;
  }
  if (!chinese && !english && !any) return other ? Language::english : Language::chinese;
  const int for_chinese = chinese.value_or(any.value_or(0));
  const int for_english = english.value_or(any.value_or(0));
  return for_chinese >= for_english ? Language::chinese : Language::english;
}

std::string_view tag_of(Language language) {
  return language == Language::chinese ? "zh-CN" : "en";
}

}  // namespace gpuward::xray
