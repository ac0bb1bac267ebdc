#pragma once

#include <cstddef>
#include <span>

#include "xray/sniff.h"

namespace gpuward::xray {

/// A DICOM file as PS3.10 has it: 128 bytes of anything, then "DICM".
bool looks_like_dicom(std::span<const std::byte> film);

/// Walks the data elements up to the pixels; see sniff(). Explicit and implicit little endian;
/// deflated and big-endian files are refused with 415, several frames too.
Outcome<FilmHeader> sniff_dicom(std::span<const std::byte> film);

}  // namespace gpuward::xray
