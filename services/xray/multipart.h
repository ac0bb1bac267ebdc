#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "xray/problem.h"

namespace gpuward::xray {

/// One part of a multipart/form-data body; both views look into the body.
struct Part {
  std::string_view name;  ///< of the form field; empty when it has none
  bool is_file =
      false;  ///< the part named a file (the name itself is not kept: it may name a patient)
  std::string_view content;
};

inline constexpr std::size_t kMaxParts = 256;
inline constexpr std::size_t kMaxPartHeader = 8192;  ///< bytes, all header lines of one part

/// The boundary in a Content-Type value; 400 unless it is multipart/form-data with one (RFC 7578).
Outcome<std::string> boundary_of(std::string_view content_type);

/// Splits @p body. 400 for what is no multipart, 413 for too many parts or too long headers.
/// Bytes before the first and after the last boundary are ignored, as RFC 2046 asks.
Outcome<std::vector<Part>> parse_multipart(std::string_view body, std::string_view boundary);

}  // namespace gpuward::xray
