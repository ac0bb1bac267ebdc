#pragma once

#include <cstdint>
#include <vector>

namespace gpuward::xray {

/// A connected set of marked pixels of a mask.
struct Region {
  int area = 0;
  int left = 0, right = 0, top = 0, bottom = 0;  ///< inclusive
  int border_pixels = 0;                         ///< how many of them lie on the mask's edge
  double centre_x = 0, centre_y = 0;
  std::vector<int> pixels{};  ///< y * width + x, in the order found
};

/// All regions of non-zero pixels, four neighbours, in the order of their first pixel.
/// @p mask holds @p width * @p height values row by row.
std::vector<Region> find_regions(const std::uint8_t* mask, int width, int height);

}  // namespace gpuward::xray
