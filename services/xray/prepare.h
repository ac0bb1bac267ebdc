#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "xray/decode.h"

namespace gpuward::xray {

/// How the grey values of the whole film are spread, from its histogram; all 0..255 but the shares.
struct Exposure {
  double mean = 0;
  double deviation = 0;
  int percentile_1 = 0, percentile_5 = 0, percentile_50 = 0, percentile_95 = 0, percentile_99 = 0;
  double black_share = 0;  ///< 0..1: pixels of value 0 to 2, mostly outside the body
  double white_share = 0;  ///< 0..1: pixels of value 253 to 255
};

/// What the later stages work on.
struct Prepared {
  FilmHeader header;
  Exposure exposure;
  int width = 0, height = 0;             ///< of the reduced picture
  std::vector<std::uint8_t> enhanced{};  ///< reduced, then CLAHE; width * height values
};

inline constexpr int kLongestSide =
    1024;  ///< of the reduced picture; smaller films stay as they are

/// Histogram, reduction to kLongestSide by area, CLAHE (8 x 8 tiles, clip limit 2).
Prepared prepare(const Film& film);

Exposure measure_exposure(const std::vector<std::uint8_t>& grey);

/// Repeats the CLAHE pass until this thread has used @p cpu_time, so that a stage costs what the
/// operator asked for, in real work. Returns early when @p cancel is asked to stop.
void burn(const Prepared& prepared, std::chrono::nanoseconds cpu_time,
          const std::stop_token& cancel);

}  // namespace gpuward::xray
