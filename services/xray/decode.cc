#include "xray/decode.h"

#include <algorithm>
#include <utility>

namespace gpuward::xray {

std::vector<std::uint8_t> detail::to_eight_bits(std::span<const std::uint16_t> wide) {
  std::vector<std::uint8_t> grey(wide.size());
  const auto [low, high] = std::ranges::minmax_element(wide);
  if (wide.empty() || *low == *high) return grey;
  const std::uint32_t bottom = *low;
  const std::uint32_t range = *high - bottom;
  std::ranges::transform(wide, grey.begin(), [&](std::uint16_t value) {
    return static_cast<std::uint8_t>(((value - bottom) * 255U + range / 2) / range);
  });
  return grey;
}

Outcome<Film> decode(std::span<const std::byte> bytes, std::uint64_t max_pixels,
                     const std::stop_token& cancel) {
  auto header = sniff(bytes);
  if (!header) return std::unexpected(std::move(header).error());
  if (auto fits = check_size(*header, max_pixels); !fits)
    return std::unexpected(std::move(fits).error());
  Outcome<std::vector<std::uint8_t>> grey;
  switch (header->format) {
    case Format::png:
      grey = detail::decode_png(bytes, *header, cancel);
      break;
    case Format::jpeg:
      grey = detail::decode_jpeg(bytes, *header, cancel);
      break;
    case Format::dicom:
      grey = detail::decode_dicom(bytes, *header);
      break;
  }
  if (!grey) return std::unexpected(std::move(grey).error());
  if (cancel.stop_requested()) return cancelled();
  if (header->inverted)
    for (auto& value : *grey) value = static_cast<std::uint8_t>(255 - value);
  return Film{*header, std::move(*grey)};
}

}  // namespace gpuward::xray
