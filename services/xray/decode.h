#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <vector>

#include "xray/sniff.h"

namespace gpuward::xray {

/// A decoded film: 8-bit grey, row by row, 0 = black. Films of more bits are spread from their
/// smallest to their largest value; MONOCHROME1 is turned round.
struct Film {
  FilmHeader header;
  std::vector<std::uint8_t> grey;  ///< header.pixels() values
};

/// Decodes one film of at most @p max_pixels; the size is checked before memory is asked for.
/// Problems: those of sniff() and check_size(), 422 for damaged pixels, 503 when the DICOM part is
/// not installed, 499 once @p cancel is asked to stop.
Outcome<Film> decode(std::span<const std::byte> bytes, std::uint64_t max_pixels,
                     const std::stop_token& cancel = {});

namespace detail {
// One decoder a format; the header has been read and its size accepted.
Outcome<std::vector<std::uint8_t>> decode_png(std::span<const std::byte> bytes,
                                              const FilmHeader& header,
                                              const std::stop_token& cancel);
Outcome<std::vector<std::uint8_t>> decode_jpeg(std::span<const std::byte> bytes,
                                               const FilmHeader& header,
                                               const std::stop_token& cancel);
Outcome<std::vector<std::uint8_t>> decode_dicom(std::span<const std::byte> bytes,
                                                const FilmHeader& header);
/// Spreads @p wide from its smallest to its largest value over 0..255.
std::vector<std::uint8_t> to_eight_bits(std::span<const std::uint16_t> wide);
}  // namespace detail

}  // namespace gpuward::xray
