#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Files of timed incidents. Pure: text in, steps and problems out.
///
///     # a comment
///     process worker --memory 4GiB       at once
///     +1.5s fault xid 31 --pid @worker   so long after the line before
///     10s heal                           so long after the start
///
/// Words are parted by blanks; "..." holds blanks together, with \" and \\ inside.
namespace gpuward::gpusim::tool {

inline constexpr std::size_t kMaxIncidentBytes = 64 << 10;
inline constexpr std::size_t kMaxSteps = 1000;
inline constexpr std::size_t kMaxWords = 32;
inline constexpr std::uint64_t kMaxIncidentNs = std::uint64_t{3600} * 1'000'000'000;

struct Step {
  unsigned line = 0;        ///< from 1
  std::uint64_t at_ns = 0;  ///< since the start; never before that of the step before
  std::vector<std::string> words;

  friend bool operator==(const Step&, const Step&) = default;
};

struct Problem {
  unsigned line = 0;
  std::string what;
};

struct Incident {
  std::vector<Step> steps;
  std::vector<Problem> problems;  ///< all of them, in the order of their lines
};

Incident parse_incident(std::string_view text);

/// "1.5s", "200ms", "2m": a number with at most nine digits before and after the point, and a unit
/// of ns, us, ms, s, m or h. False for anything else, also beyond kMaxIncidentNs.
bool parse_offset(std::string_view text, std::uint64_t& ns);

/// What a line may be called by: a letter, then letters, digits, '-' and '_'; 15 at most, as the
/// name of a process can have.
bool is_name(std::string_view text);

}  // namespace gpuward::gpusim::tool
