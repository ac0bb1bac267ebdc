#include "xray/measure.h"

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <optional>
#include <vector>

#include "xray/opencv_serial.h"
#include "xray/regions.h"

namespace gpuward::xray {
namespace {

constexpr int kMapSide = 256;  // longest side of the map in which fields are sought

struct Map {
  cv::Mat grey;      // 8 bits, smoothed
  double scale = 1;  // film pixels per map pixel
};

Map make_map(const Prepared& prepared) {
  const cv::Mat picture(prepared.height, prepared.width, CV_8UC1,
                        const_cast<std::uint8_t*>(prepared.enhanced.data()));
  const int longest = std::max(prepared.width, prepared.height);
  const double shrink = std::min(1.0, static_cast<double>(kMapSide) / longest);
  const cv::Size size(std::max(8, static_cast<int>(std::lround(prepared.width * shrink))),
                      std::max(8, static_cast<int>(std::lround(prepared.height * shrink))));
  Map map;
  cv::Mat reduced;
  cv::resize(picture, reduced, size, 0, 0, cv::INTER_AREA);
  cv::GaussianBlur(reduced, map.grey, cv::Size(13, 13), 0);
  map.scale = static_cast<double>(prepared.header.width) / size.width;
  return map;
}

struct Pair {
  Region left, right;
  double score = 0;
};

// How much of its bounding box a region fills: a lung field about 0.65, a rib gap or a leak less.
double fullness(const Region& region) {
  const double box = (region.right - region.left + 1.0) * (region.bottom - region.top + 1.0);
  return std::min(region.area / box, 0.65);
}

// A lung field is one of the two large dark regions that do not belong to the air around the body.
bool could_be_field(const Region& region, const cv::Mat& grey) {
  const auto total = static_cast<double>(grey.total());
  const double share = region.area / total;
  if (share < 0.025 || share > 0.30 || fullness(region) < 0.38) return false;
  if (region.border_pixels > (grey.rows + grey.cols) / 64) return false;
  const double height = region.bottom - region.top + 1;
  return height >= 0.25 * grey.rows && height >= 0.7 * (region.right - region.left + 1);
}

std::optional<Pair> best_pair(const std::vector<Region>& regions, const cv::Mat& grey) {
  std::optional<Pair> best;
  for (const auto& left : regions) {
    if (!could_be_field(left, grey)) continue;
    for (const auto& right : regions) {
      if (&left == &right || !could_be_field(right, grey)) continue;
      if (left.centre_x < 0.15 * grey.cols || left.centre_x > 0.5 * grey.cols) continue;
      if (right.centre_x < 0.5 * grey.cols || right.centre_x > 0.85 * grey.cols) continue;
      if (std::abs(left.centre_y - right.centre_y) > 0.2 * grey.rows) continue;
      const double smaller = std::min(left.area, right.area);
      const double larger = std::max(left.area, right.area);
      if (smaller < 0.25 * larger) continue;
      const double score = (smaller + 0.5 * larger) * fullness(left) * fullness(right);
      if (!best || score > best->score) best = Pair{left, right, score};
    }
  }
  return best;
}

// The threshold is the one under which the two fields are largest while still apart from each other
// and from the air outside: above it they flow together and no longer pass could_be_field().
std::optional<Pair> find_fields(const cv::Mat& grey) {
  std::optional<Pair> best;
  const cv::Mat kernel = cv::getStructuringElement(cv::MORPH_ELLIPSE, cv::Size(5, 5));
  for (int threshold = 50; threshold <= 170; threshold += 4) {
    cv::Mat dark = grey < threshold;
    cv::morphologyEx(dark, dark, cv::MORPH_OPEN, kernel);
    auto pair = best_pair(find_regions(dark.data, dark.cols, dark.rows), grey);
    if (pair && (!best || pair->score > best->score)) best = std::move(pair);
  }
  return best;
}

struct Edges {
  std::vector<int> inner, outer;  // per map row; -1 where the field has no pixel
};

// The field's edge towards the middle and towards the side, row by row.
Edges edges_of(const Region& region, const cv::Mat& grey, bool left_field) {
  Edges edges;
  edges.inner.assign(static_cast<std::size_t>(grey.rows), -1);
  edges.outer = edges.inner;
  for (const int pixel : region.pixels) {
    const int x = pixel % grey.cols;
    const auto y = static_cast<std::size_t>(pixel / grey.cols);
    int& inner = edges.inner[y];
    int& outer = edges.outer[y];
    if (inner < 0) inner = outer = x;
    inner = left_field ? std::max(inner, x) : std::min(inner, x);
    outer = left_field ? std::min(outer, x) : std::max(outer, x);
  }
  return edges;
}

// The height of a field's floor: the lowest pixel of each column, of which the 80th percentile, so
// that one deep corner beside the ribs does not stand for the dome.
int floor_of(const Region& region, const cv::Mat& grey) {
  std::vector<int> lowest(static_cast<std::size_t>(grey.cols), -1);
  for (const int pixel : region.pixels) {
    int& row = lowest[static_cast<std::size_t>(pixel % grey.cols)];
    row = std::max(row, pixel / grey.cols);
  }
  std::erase(lowest, -1);
  std::ranges::sort(lowest);
  return lowest[lowest.size() * 4 / 5];
}

double mean_inside(const Region& region, const cv::Mat& grey) {
  double sum = 0;
  for (const int pixel : region.pixels) sum += grey.data[pixel];
  return sum / region.area;
}

struct Widths {
  int thorax = 0, heart = 0, mediastinum = 0;  // map pixels
};

Widths widths_of(const Pair& pair, const cv::Mat& grey) {
  const Edges left = edges_of(pair.left, grey, true);
  const Edges right = edges_of(pair.right, grey, false);
  const int top = std::max(pair.left.top, pair.right.top);
  const int bottom = std::min(pair.left.bottom, pair.right.bottom);
  Widths widths;
  widths.thorax = pair.right.right - pair.left.left + 1;
  std::vector<int> upper;
  for (int y = top; y <= bottom; ++y) {
    const auto row = static_cast<std::size_t>(y);
    if (left.inner[row] < 0 || right.inner[row] < 0) continue;
    const int gap = std::max(0, right.inner[row] - left.inner[row] - 1);
    if (y < top + (bottom - top) / 3) upper.push_back(gap);
    // The lowest tenth is left out: there the fields narrow to corners and the gap is the belly.
    if (y > top + (bottom - top) / 2 && y < bottom - (bottom - top) / 10)
      widths.heart = std::max(widths.heart, gap);
  }
  std::ranges::sort(upper);
  if (!upper.empty()) widths.mediastinum = upper[upper.size() / 2];
  return widths;
}

LungField to_film(const Region& region, const Map& map) {
  auto pixel = [&](int at) { return static_cast<int>(std::lround(at * map.scale)); };
  return {.area_share = region.area / static_cast<double>(map.grey.total()),
          .left = pixel(region.left),
          .right = pixel(region.right + 1) - 1,
          .top = pixel(region.top),
          .bottom = pixel(region.bottom + 1) - 1};
}

}  // namespace

Measures measure(const Prepared& prepared) {
  keep_opencv_serial();
  const Map map = make_map(prepared);
  const auto pair = find_fields(map.grey);
  Measures measures;
  if (!pair) return measures;
  auto pixel = [&](int at) { return static_cast<int>(std::lround(at * map.scale)); };
  measures.fields_found = true;
  measures.left = to_film(pair->left, map);
  measures.right = to_film(pair->right, map);
  measures.symmetry = static_cast<double>(std::min(pair->left.area, pair->right.area)) /
                      std::max(pair->left.area, pair->right.area);
  const Widths widths = widths_of(*pair, map.grey);
  measures.thorax_width = pixel(widths.thorax);
  measures.heart_width = pixel(widths.heart);
  measures.heart_thorax_ratio = static_cast<double>(widths.heart) / widths.thorax;
  measures.mediastinum_width = pixel(widths.mediastinum);
  measures.mediastinum_share = static_cast<double>(widths.mediastinum) / widths.thorax;
  measures.diaphragm_left = pixel(floor_of(pair->left, map.grey));
  measures.diaphragm_right = pixel(floor_of(pair->right, map.grey));
  measures.diaphragm_difference = measures.diaphragm_right - measures.diaphragm_left;
  measures.field_mean_left = mean_inside(pair->left, map.grey);
  measures.field_mean_right = mean_inside(pair->right, map.grey);
  return measures;
}

}  // namespace gpuward::xray
