#include "config/table_reader.h"

#include <algorithm>
#include <charconv>

#include "config/keys.h"

namespace gpuward::config {
namespace {

constexpr std::string_view kTimes =
    R"(a time such as "10s", "5m" or "1h30m" (units ms, s, m, h, d))";
constexpr std::size_t kLongestString = 131'071;  // MAX_ARG_STRLEN of Linux, less its NUL

// "99999d" reads like a time and is none: too long. The same text with each number as 1 tells.
bool too_long(std::string_view text) {
  std::string ones;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (digit && ones.ends_with('1')) continue;
    ones += digit ? '1' : c;
  }
  return parse_duration(ones).has_value();
}

std::string full_name(std::string_view table, std::string_view key) {
  return table.empty() ? std::string(key) : std::string(table) + "." + std::string(key);
}

}  // namespace

bool is_number(Kind kind) {
  return kind == Kind::integer || kind == Kind::real;
}

std::string in_toml(std::string_view text) {
  return "\"" + std::string(text.substr(0, 80)) + "\"";
}

void TableReader::wrong_type(const Node& node, std::string_view key, std::string expected) {
  report_.add(node.place, in_quotes(key) + " is " + std::string(kind_name(node.kind)),
              std::move(expected));
}

const std::string* TableReader::string(const Node& node, std::string_view key) {
  if (node.kind != Kind::string) {
    wrong_type(node, key, "a string" + (is_number(node.kind) ? ": " + in_toml(node.text) : ""));
    return nullptr;
  }
  if (node.text.find('\0') != std::string::npos) {
    report_.add(node.place, in_quotes(key) + " holds a NUL byte", "text");
    return nullptr;
  }
  if (node.text.size() > kLongestString) {
    report_.add(node.place, in_quotes(key) + " is longer than 131071 bytes");
    return nullptr;
  }
  return &node.text;
}

const std::string* TableReader::word(std::string_view key, const std::string& expected) {
  const Entry* entry = table_.find(key);
  if (entry == nullptr) return nullptr;
  const std::string* text = string(entry->value, key);
  if (text != nullptr && !text->empty() && text->find_first_of(" \n") == text->npos) return text;
  if (text != nullptr)
    report_.add(entry->value.place, in_quotes(key) + " is no name: " + in_quotes(*text), expected);
  return nullptr;
}

void TableReader::path(const Node& node, std::string_view key, const std::string& base,
                       std::string& into) {
  const std::string* text = string(node, key);
  if (text == nullptr) return;
  if (text->empty()) return report_.add(node.place, in_quotes(key) + " is empty", "a path");
  if (text->front() == '~' || text->front() == '$')
    return report_.add(
        node.place, in_quotes(key) + " begins with '" + text->front() + "', which is not expanded",
        "a full path");
  std::string_view rest = *text;
  while (rest.starts_with("./")) rest.remove_prefix(2);
  if (rest.starts_with('/') || base.empty())
    into = rest.empty() ? "." : rest;
  else
    into = rest.empty() || rest == "." ? base : base + "/" + std::string(rest);
}

std::optional<int> TableReader::whole_number(std::string_view key, int low, int high) {
  const Entry* entry = table_.find(key);
  if (entry == nullptr) return std::nullopt;
  int value = 0;
  const std::string& text = entry->value.text;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = code == std::errc{} && end == text.data() + text.size();
  if (entry->value.kind == Kind::integer && whole && value >= low && value <= high) return value;
  report_.add(entry->value.place, in_quotes(key) + " is no such number",
              std::to_string(low) + " to " + std::to_string(high));
  return std::nullopt;
}

void TableReader::truth(std::string_view key, bool& into) {
  const Entry* entry = find(key);
  if (entry == nullptr) return;
  if (entry->value.kind != Kind::boolean) return wrong_type(entry->value, key, "true or false");
  into = entry->value.truth;
}

void TableReader::truth(const Node& table, std::string_view name, std::string_view key,
                        bool& into) {
  const Entry* entry = table.find(key);
  if (entry == nullptr) return;
  if (entry->value.kind != Kind::boolean)
    return wrong_type(entry->value, std::string(name) + "." + std::string(key), "true or false");
  into = entry->value.truth;
}

void TableReader::path_or_switch(const Node& table, std::string_view table_name,
                                 std::string_view key, std::size_t longest, std::string_view usual,
                                 std::string_view expected, std::string& into) {
  const Entry* entry = table.find(key);
  if (entry == nullptr) return;
  const Node& node = entry->value;
  const std::string name = full_name(table_name, key);
  if (node.kind == Kind::boolean) {
    into = node.truth ? usual : "";
    return;
  }
  if (node.kind != Kind::string) return wrong_type(node, name, std::string(expected));
  const bool good = node.text.starts_with('/') && node.text.size() <= longest &&
                    node.text.find('\0') == std::string::npos;
  if (good)
    into = node.text;
  else
    report_.add(node.place, in_quotes(name) + " is no path: " + in_quotes(node.text),
                std::string(expected));
}

const Node* TableReader::subtable(std::string_view key, std::string expected) {
  const Entry* entry = table_.find(key);
  if (entry == nullptr) return nullptr;
  if (entry->value.kind != Kind::table) {
    wrong_type(entry->value, key, std::move(expected));
    return nullptr;
  }
  for (const Entry& inner : entry->value.entries)
    if (accept_key(inner, keys_below(key), key, report_))
      origin_.keys[std::string(key) + "." + inner.key] = inner.value.place;
  return &entry->value;
}

bool TableReader::duration(const Node& table, std::string_view table_name, std::string_view key,
                           const Range& range, std::chrono::milliseconds& into) {
  const Entry* entry = table.find(key);
  if (entry == nullptr) return true;
  const Node& node = entry->value;
  const std::string name = in_quotes(full_name(table_name, key));
  const auto say = [&](std::string what, std::string expected) {
    report_.add(node.place, std::move(what), std::move(expected));
    return false;
  };
  const bool number = is_number(node.kind);
  if (!number && node.kind != Kind::string)
    return say(name + " is " + std::string(kind_name(node.kind)), std::string(kTimes));
  const std::string& text = node.text;
  if (text.starts_with('-')) return say(name + " is negative", std::string(kTimes));
  if (number || parse_duration(text + "s")) {
    const bool plain = text.find_first_not_of("0123456789.") == std::string::npos;
    if (plain) return say(name + " has no unit", in_toml(text + "s"));
    if (number) return say(name + " is a number", std::string(kTimes));
  }
  if (const auto value = parse_duration(text)) {
    if (*value < range.low || *value > range.high)
      return say(name + " is out of range", std::string(range.text));
    into = *value;
    return true;
  }
  if (too_long(text)) return say(name + " is out of range", std::string(range.text));
  std::string tight;
  std::ranges::copy_if(text, std::back_inserter(tight), [](char c) { return c != ' '; });
  const bool only_blanks = parse_duration(tight).has_value();
  return say(name + " is no time: " + in_quotes(text),
             only_blanks ? in_toml(tight) : std::string(kTimes));
}

bool TableReader::bytes(const Node& table, std::string_view table_name, std::string_view key,
                        const Sizes& range, Bytes& into, std::string_view after) {
  const Entry* entry = table.find(key);
  if (entry == nullptr) return true;
  const Node& node = entry->value;
  const std::string name = in_quotes(full_name(table_name, key));
  const std::string expected =
      "a size such as \"64MiB" + std::string(after) + "\", " + std::string(range.text);
  const auto say = [&](std::string what, std::string right) {
    report_.add(node.place, std::move(what), std::move(right));
    return false;
  };
  if (node.kind != Kind::string)
    return say(name + " is " + std::string(kind_name(node.kind)), expected);
  const bool ends = node.text.ends_with(after);
  const auto size =
      ends ? parse_bytes(std::string_view(node.text).substr(0, node.text.size() - after.size()))
           : std::nullopt;
  if (!size) return say(name + " is no size: " + in_quotes(node.text), expected);
  if (size->count < range.low.count || size->count > range.high.count)
    return say(name + " is out of range", std::string(range.text));
  into = *size;
  return true;
}

}  // namespace gpuward::config
