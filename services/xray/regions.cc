#include "xray/regions.h"

#include <algorithm>
#include <cstddef>

namespace gpuward::xray {
namespace {

void add(Region& region, int pixel, int width, int height) {
  const int x = pixel % width;
  const int y = pixel / width;
  region.left = std::min(region.left, x);
  region.right = std::max(region.right, x);
  region.top = std::min(region.top, y);
  region.bottom = std::max(region.bottom, y);
  if (x == 0 || y == 0 || x == width - 1 || y == height - 1) ++region.border_pixels;
  region.centre_x += x;
  region.centre_y += y;
  region.pixels.push_back(pixel);
}

Region grow(std::vector<std::uint8_t>& open, int start, int width, int height) {
  Region region{.left = width, .right = -1, .top = height, .bottom = -1};
  open[static_cast<std::size_t>(start)] = 0;
  add(region, start, width, height);
  // region.pixels is also the queue: what lies behind `next` has been looked at.
  for (std::size_t next = 0; next < region.pixels.size(); ++next) {
    const int pixel = region.pixels[next];
    const int x = pixel % width;
    auto visit = [&](bool inside, int neighbour) {
      if (!inside || open[static_cast<std::size_t>(neighbour)] == 0) return;
      open[static_cast<std::size_t>(neighbour)] = 0;
      add(region, neighbour, width, height);
    };
    visit(x > 0, pixel - 1);
    visit(x + 1 < width, pixel + 1);
    visit(pixel >= width, pixel - width);
    visit(pixel + width < width * height, pixel + width);
  }
  region.area = static_cast<int>(region.pixels.size());
  region.centre_x /= region.area;
  region.centre_y /= region.area;
  return region;
}

}  // namespace

std::vector<Region> find_regions(const std::uint8_t* mask, int width, int height) {
  std::vector<std::uint8_t> open(mask, mask + static_cast<std::ptrdiff_t>(width) * height);
  std::vector<Region> regions;
  for (int pixel = 0; pixel < width * height; ++pixel)
    if (open[static_cast<std::size_t>(pixel)] != 0)
      regions.push_back(grow(open, pixel, width, height));
  return regions;
}

}  // namespace gpuward::xray
