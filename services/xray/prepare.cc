#include "xray/prepare.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <numeric>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "xray/opencv_serial.h"

namespace gpuward::xray {
namespace {

// OpenCV looks at pixels through a Mat without owning them and never writes to an input.
cv::Mat look_at(const std::vector<std::uint8_t>& pixels, int width, int height) {
  return {height, width, CV_8UC1, const_cast<std::uint8_t*>(pixels.data())};
}

int percentile(const std::array<std::uint64_t, 256>& histogram, std::uint64_t total, int percent) {
  const std::uint64_t wanted = (total * static_cast<unsigned>(percent) + 99) / 100;
  std::uint64_t seen = 0;
  for (int value = 0; value < 256; ++value) {
    seen += histogram[static_cast<std::size_t>(value)];
    if (seen >= wanted) return value;
  }
  return 255;
}

std::vector<std::uint8_t> equalize(const cv::Mat& reduced) {
  std::vector<std::uint8_t> enhanced(reduced.total());
  cv::Mat out(reduced.rows, reduced.cols, CV_8UC1, enhanced.data());
  cv::createCLAHE(2.0, cv::Size(8, 8))->apply(reduced, out);
  return enhanced;
}

std::chrono::nanoseconds thread_cpu_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

Exposure measure_exposure(const std::vector<std::uint8_t>& grey) {
  std::array<std::uint64_t, 256> histogram{};
  for (const auto value : grey) ++histogram[value];
  const std::uint64_t total = std::max<std::uint64_t>(grey.size(), 1);
  std::uint64_t sum = 0;
  std::uint64_t squares = 0;
  for (std::uint64_t value = 0; value < 256; ++value) {
    sum += value * histogram[value];
    squares += value * value * histogram[value];
  }
  Exposure exposure;
  const auto count = static_cast<double>(total);
  exposure.mean = static_cast<double>(sum) / count;
  const double variance = static_cast<double>(squares) / count - exposure.mean * exposure.mean;
  exposure.deviation = std::sqrt(std::max(variance, 0.0));
  exposure.percentile_1 = percentile(histogram, total, 1);
  exposure.percentile_5 = percentile(histogram, total, 5);
  exposure.percentile_50 = percentile(histogram, total, 50);
  exposure.percentile_95 = percentile(histogram, total, 95);
  exposure.percentile_99 = percentile(histogram, total, 99);
  exposure.black_share = static_cast<double>(histogram[0] + histogram[1] + histogram[2]) / count;
  exposure.white_share =
      static_cast<double>(histogram[253] + histogram[254] + histogram[255]) / count;
  return exposure;
}

Prepared prepare(const Film& film) {
  keep_opencv_serial();
  Prepared prepared{.header = film.header, .exposure = measure_exposure(film.grey)};
  const int width = static_cast<int>(film.header.width);
  const int height = static_cast<int>(film.header.height);
  const cv::Mat full = look_at(film.grey, width, height);
  const int longest = std::max(width, height);
  cv::Mat reduced = full;
  if (longest > kLongestSide) {
    const double scale = static_cast<double>(kLongestSide) / longest;
    const cv::Size size(std::max(1, static_cast<int>(std::lround(width * scale))),
                        std::max(1, static_cast<int>(std::lround(height * scale))));
    cv::resize(full, reduced, size, 0, 0, cv::INTER_AREA);
  }
  prepared.width = reduced.cols;
  prepared.height = reduced.rows;
  prepared.enhanced = equalize(reduced);
  return prepared;
}

void burn(const Prepared& prepared, std::chrono::nanoseconds cpu_time,
          const std::stop_token& cancel) {
  if (cpu_time <= std::chrono::nanoseconds::zero()) return;
  keep_opencv_serial();
  const auto end = thread_cpu_time() + cpu_time;
  const cv::Mat picture = look_at(prepared.enhanced, prepared.width, prepared.height);
  const auto strip =
      std::min(prepared.height, 128);  // short passes: the time asked for is kept to 1 ms
  while (thread_cpu_time() < end && !cancel.stop_requested()) equalize(picture.rowRange(0, strip));
}

}  // namespace gpuward::xray
