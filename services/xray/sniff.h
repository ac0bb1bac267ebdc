#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "xray/problem.h"

namespace gpuward::xray {

enum class Format { png, jpeg, dicom };
std::string_view to_string(Format format);

/// What a film says about itself before anything is decoded.
struct FilmHeader {
  Format format = Format::png;
  std::uint32_t width = 0;   ///< pixels, never 0
  std::uint32_t height = 0;  ///< pixels, never 0
  unsigned bits = 8;         ///< per sample, as stored
  unsigned channels = 1;
  bool inverted = false;  ///< MONOCHROME1: low values are white

  std::uint64_t pixels() const { return std::uint64_t{width} * height; }
};

/// Reads only the header of @p film: allocates nothing, so a picture that claims to be huge costs
/// nothing. Problems: 415 (no film format of ours), 422 (damaged or cut off).
Outcome<FilmHeader> sniff(std::span<const std::byte> film);

inline constexpr std::uint32_t kShortestSide = 64;

/// 422 for a shape no chest film has (a side below kShortestSide, or 8 : 1); 413 with the numbers
/// when @p header has more than @p max_pixels.
Outcome<void> check_size(const FilmHeader& header, std::uint64_t max_pixels);

}  // namespace gpuward::xray
