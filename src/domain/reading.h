#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace gpuward {

/// What came of asking the driver for a value. Each is an answer, none an error.
enum class Answer : std::uint8_t {
  not_asked = 0,
  known = 1,
  not_supported = 2,  ///< by this card or driver, and never will be: not an alarm
  no_permission = 3,  ///< somebody with more rights may see it
  cannot_see = 4,     ///< it exists, and is not told here: another namespace, MIG without rights
  not_yet = 5,        ///< there is no sample yet
  failed = 6,         ///< the driver answered something else
};
/// "not_supported": a contract of the JSON output.
std::string_view to_string(Answer answer);

/// A value of the driver, when it was read, and why there is none where there is none.
template <class T>
struct Reading {
  T value{};  ///< means something only where known()
  Answer answer = Answer::not_asked;
  std::int64_t read_ns = 0;  ///< CLOCK_MONOTONIC of the asking; 0: not told

  Reading() = default;
  /// A value that is known.
  Reading(T known_value, std::int64_t at_ns = 0)  // NOLINT(google-explicit-constructor)
      : value(known_value), answer(Answer::known), read_ns(at_ns) {}
  /// No value, and why.
  static Reading none(Answer why, std::int64_t at_ns = 0) {
    Reading reading;
    reading.answer = why;
    reading.read_ns = at_ns;
    return reading;
  }

  bool known() const { return answer == Answer::known; }
  explicit operator bool() const { return known(); }
  const T& operator*() const { return value; }
  const T* operator->() const { return &value; }
  T value_or(T other) const { return known() ? value : other; }
  std::optional<T> maybe() const { return known() ? std::optional<T>(value) : std::nullopt; }
  /// Nobody asked: nothing to tell anybody (control/wire.h leaves it out).
  bool blank() const { return answer == Answer::not_asked; }

  friend bool operator==(const Reading&, const Reading&) = default;
};

}  // namespace gpuward
