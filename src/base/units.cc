#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace gpuward {
namespace {

struct Number {
  double value;
  std::string_view rest;
};

// A non-negative decimal number and what follows it. Exponents, signs and "inf" are no numbers
// here.
std::optional<Number> leading_number(std::string_view text) {
  std::size_t end = 0;
  bool point = false;
  while (end < text.size() &&
         ((text[end] >= '0' && text[end] <= '9') || (text[end] == '.' && !point)))
    point |= text[end++] == '.';
  if (end == 0 || text[0] == '.' || text[end - 1] == '.') return std::nullopt;
  double value = 0;
  const char* const begin = text.data();
  auto [at, code] = std::from_chars(begin, begin + end, value, std::chars_format::fixed);
  if (code != std::errc{} || at != begin + end) return std::nullopt;
  return Number{value, text.substr(end)};
}

std::string format(const char* pattern, double value, const char* unit) {
  std::array<char, 48> buffer{};
  std::snprintf(buffer.data(), buffer.size(), pattern, value, unit);
  return buffer.data();
}

}  // namespace

std::string to_string(Bytes bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes.count);
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return format(unit >= 3 && value < 99.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
}

std::optional<Bytes> parse_bytes(std::string_view text) {
  auto number = leading_number(text);
  if (!number) return std::nullopt;
  auto unit = number->rest;
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  struct Unit {
    std::string_view name;
    double bytes;
  };
  static constexpr std::array<Unit, 9> kUnits = {{{"B", 1},
                                                  {"KiB", 1024.0},
                                                  {"MiB", 1048576.0},
                                                  {"GiB", 1073741824.0},
                                                  {"TiB", 1099511627776.0},
                                                  {"kB", 1e3},
                                                  {"MB", 1e6},
                                                  {"GB", 1e9},
                                                  {"TB", 1e12}}};
  for (const auto& known : kUnits) {
    if (known.name != unit) continue;
    const double bytes = number->value * known.bytes;
    if (bytes >= 0x1p63) return std::nullopt;
    return Bytes{static_cast<std::uint64_t>(std::llround(bytes))};
  }
  return std::nullopt;
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    double milliseconds;
  };
  static constexpr std::array<Unit, 6> kUnits = {
      {{"ms", 1}, {"min", 60e3}, {"m", 60e3}, {"s", 1e3}, {"h", 3600e3}, {"d", 86400e3}}};
  if (text.empty()) return std::nullopt;
  double total = 0;
  while (!text.empty()) {
    auto number = leading_number(text);
    if (!number) return std::nullopt;
    text = number->rest;
    const Unit* unit = nullptr;
    for (const auto& known : kUnits) {
      if (!text.starts_with(known.name)) continue;
      unit = &known;
      break;
    }
    if (unit == nullptr) return std::nullopt;
    text.remove_prefix(unit->name.size());
    total += number->value * unit->milliseconds;
  }
  if (total > 3.2e12)
    return std::nullopt;  // a century; keeps every later sum inside int64 nanoseconds
  return std::chrono::milliseconds(std::llround(total));
}

std::string to_string(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (duration == std::chrono::nanoseconds::zero()) return "0 s";
  if (seconds < 1e-3) return format("%.0f %s", seconds * 1e6, "us");
  if (seconds < 0.0995) return format("%.1f %s", seconds * 1e3, "ms");
  if (seconds < 0.9995) return format("%.0f %s", seconds * 1e3, "ms");
  if (seconds < 59.95) return format("%.1f %s", seconds, "s");
  const auto whole = std::llround(seconds);
  auto two = [](long long big, const char* big_unit, long long small, const char* small_unit) {
    std::string text = std::to_string(big) + " " + big_unit;
    if (small != 0) text += " " + std::to_string(small) + " " + small_unit;
    return text;
  };
  if (whole < 3600) return two(whole / 60, "min", whole % 60, "s");
  if (whole < 86400) return two(whole / 3600, "h", whole % 3600 / 60, "min");
  return two(whole / 86400, "d", whole % 86400 / 3600, "h");
}

}  // namespace gpuward
