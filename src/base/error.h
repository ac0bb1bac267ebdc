#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.h"

namespace gpuward {

/// Failures that are gpuward's own, beside the system's errno values.
enum class Errc {
  not_supported = 1,  ///< the kernel, the driver or this machine does not offer it
  timed_out,          ///< the deadline passed; nothing is known about later
  bad_message,        ///< bytes that do not follow the wire format or a file format
  refused,            ///< asked for something that a rule forbids; the Error's text says which
  not_found,          ///< no such service, process or device
  not_proven,         ///< done as far as can be seen, but the proof failed
  unreachable,        ///< no warden or anchor answers
  invalid,            ///< a value that makes no sense
  taken,              ///< somebody else has the name; the Error's text says who
};

const std::error_category& gpuward_category();
std::error_code make_error_code(Errc code);

/// What went wrong, and what was attempted on what: "open '/run/x/record'".
/// Holds no heap memory. Functions that return one do not log it; the one who decides does.
struct Error {
  std::error_code code;
  Text<200> doing;

  Error(std::error_code why, std::string_view what) : code(why), doing(what) {}
  Error(Errc why, std::string_view what) : Error(make_error_code(why), what) {}

  /// "open '/run/x/record': No such file or directory"
  std::string message() const;
};

template <class T>
using Result = std::expected<T, Error>;

/// The current errno as an Error. Call before anything else can change errno.
/// @param object  put in quotes after @p verb unless empty.
Error last_error(std::string_view verb, std::string_view object = {});
Error error_from(int errno_value, std::string_view verb, std::string_view object = {});

inline std::unexpected<Error> fail(Errc why, std::string_view what) {
  return std::unexpected(Error(why, what));
}
inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}

/// Return early with the error of @p expression, a Result.
#define GPUWARD_TRY(expression)                                        \
  do {                                                                 \
    if (auto gpuward_try_result_ = (expression); !gpuward_try_result_) \
      return std::unexpected(std::move(gpuward_try_result_).error());  \
  } while (false)

}  // namespace gpuward
