#pragma once

#include <cstdint>
#include <string_view>

namespace gpuward {

inline constexpr std::uint64_t kFnvBasis = 0xcbf29ce484222325ULL;

/// FNV-1a, 64 bit: tells texts apart; no protection against whoever wants two to look alike.
/// @p before  the hash of what came before, to go on from.
constexpr std::uint64_t fnv1a(std::string_view text, std::uint64_t before = kFnvBasis) {
  for (const char c : text) before = (before ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return before;
}

}  // namespace gpuward
