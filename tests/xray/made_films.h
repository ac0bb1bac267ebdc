#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace gpuward::xray {

/// A film of tests/films as bytes; fails the test when it is missing.
std::string film_bytes(std::string_view name);

struct PngLook {
  int colour = 0;  ///< PNG colour type: 0 grey, 2 RGB, 6 RGBA
  int bits = 8;
  bool interlaced = false;
};
/// A PNG whose pixel (x, y) has the grey value (x + y) modulo 200, in 16 bits times @p step.
std::string make_png(std::uint32_t width, std::uint32_t height, PngLook look = {}, int step = 257);

/// A JPEG of the same picture.
std::string make_jpeg(std::uint32_t width, std::uint32_t height, bool progressive);

/// Only a PNG's signature and header: what a picture of that size costs to claim.
std::string png_header(std::uint32_t width, std::uint32_t height);

struct DicomLook {
  std::string photometric = "MONOCHROME2";
  std::string syntax = "1.2.840.10008.1.2.1";  ///< explicit little endian
  int frames = 1;
  unsigned bits = 8;
};
/// A DICOM file of the same picture; 16-bit values are multiplied by 20.
std::string make_dicom(std::uint32_t width, std::uint32_t height, const DicomLook& look = {});

}  // namespace gpuward::xray
