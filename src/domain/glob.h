#pragma once

#include <cstddef>
#include <string_view>

// Patterns of command lines, for key `release`. Matching allocates nothing, which regexec(3) cannot
// promise: anchors match while a tree is being ended.

namespace gpuward {

inline constexpr std::size_t kMostReleasePatterns = 16;
inline constexpr std::size_t kLongestReleasePattern = 200;  ///< bytes

/// Does @p pattern match the whole of @p text? '*' stands for any bytes, also none, '?' for one
/// byte; every other byte for itself. Time: at most the product of both lengths.
bool glob_matches(std::string_view pattern, std::string_view text);

/// Why @p pattern cannot choose what is handed over, as the rest of a sentence; empty when it can.
/// One without a byte of its own would match every process.
std::string_view release_fault(std::string_view pattern);

}  // namespace gpuward
