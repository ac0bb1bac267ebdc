#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gpuward {

/// A point on CLOCK_MONOTONIC (libstdc++'s steady_clock): comparable between processes of one boot.
using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;
/// A point in civil time, for people and records only; never for deadlines.
using WallTime = std::chrono::system_clock::time_point;

/// A number of bytes of memory or storage.
struct Bytes {
  std::uint64_t count = 0;

  friend auto operator<=>(const Bytes&, const Bytes&) = default;
  Bytes& operator+=(Bytes other) {
    count += other.count;
    return *this;
  }
  friend Bytes operator+(Bytes a, Bytes b) { return {a.count + b.count}; }
  /// Saturates at zero: a difference of samples taken at two times may well be negative.
  friend Bytes operator-(Bytes a, Bytes b) { return {a.count > b.count ? a.count - b.count : 0}; }
};

constexpr Bytes operator""_KiB(unsigned long long n) {
  return {n << 10};
}
constexpr Bytes operator""_MiB(unsigned long long n) {
  return {n << 20};
}
constexpr Bytes operator""_GiB(unsigned long long n) {
  return {n << 30};
}

/// "0 B", "812 KiB", "4.0 GiB": three significant digits at most, binary units.
std::string to_string(Bytes bytes);

/// "40GiB", "16 MiB", "1GB" (10^9), "512B". A unit is required; nullopt for anything else.
std::optional<Bytes> parse_bytes(std::string_view text);

/// "250ms", "10s", "5m", "2h", "14d", also "1h30m". A unit is required; nullopt for anything else.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// "3 ms", "1.2 s", "4 min 10 s", "2 h 5 min", "3 d 4 h": for people.
std::string to_string(std::chrono::nanoseconds duration);

}  // namespace gpuward
