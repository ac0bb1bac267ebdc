#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// The answer that a known question should get, and where another one differs from it.

namespace gpuward::answer {

/// Of a known answer, and of what is read of one that is compared with it.
inline constexpr std::size_t kLongestAnswer = std::size_t{1} << 20;

/// What may be different in an answer that is right.
struct Leave {
  /// JSON pointers (RFC 6901) of values that vary, with all that is below them.
  std::vector<std::string> ignore;
  /// A number may differ by this part of the known one, and of 1 where that is smaller.
  double tolerance = 0;
};

/// Is @p text a JSON pointer to some value below the whole?
bool is_pointer(std::string_view text);

/// JSON is compared as JSON: white space and the order of members are nothing. All else is compared
/// byte by byte. Allocates in proportion to both texts; what it says of a difference holds nothing
/// of the answer that was compared (harm.md 11), only places in the known one.
class KnownAnswer {
 public:
  /// Errors: Errc::invalid where @p text is empty or too long, or @p leave needs JSON and it is
  /// none.
  static Result<KnownAnswer> make(std::string text, Leave leave);

  /// Pointers of Leave::ignore that name nothing in it: probably slips of the pen.
  std::vector<std::string> idle_pointers() const;

  /// Where @p answer differs first: "at byte 120", "at /results/0/measures". None: it is right.
  std::optional<std::string> difference(std::string_view answer) const;

 private:
  KnownAnswer(std::string text, Leave leave) : text_(std::move(text)), leave_(std::move(leave)) {}

  std::string text_;
  Leave leave_;
  std::optional<boost::json::value> json_;
};

}  // namespace gpuward::answer
