#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gpuward::xray {

/// Why a film or a request got no report: exactly what the client is told, so it names no file and
/// repeats nothing that the client sent except numbers.
struct Problem {
  unsigned status = 500;  ///< HTTP status, 400 to 599; 499 = the client has left
  std::string code;       ///< one word for programs: "too_many_pixels"
  std::string reason;     ///< one sentence for people
  std::vector<std::pair<std::string, std::uint64_t>> numbers;  ///< the figures behind the reason
};

template <class T>
using Outcome = std::expected<T, Problem>;

using Numbers = std::vector<std::pair<std::string, std::uint64_t>>;

inline std::unexpected<Problem> refuse(unsigned status, std::string_view code, std::string reason,
                                       Numbers numbers = {}) {
  return std::unexpected(Problem{status, std::string(code), std::move(reason), std::move(numbers)});
}

inline std::unexpected<Problem> cancelled() {
  return refuse(499, "cancelled", "the client left before the work was done");
}

}  // namespace gpuward::xray
