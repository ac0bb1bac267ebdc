// Headers of PNG, JPEG and DICOM from untrusted bytes; what they claim must make sense.
#include <cstddef>
#include <cstdint>
#include <span>

#include "xray/sniff.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward::xray;
  const auto header = sniff(std::as_bytes(std::span(data, size)));
  if (!header) {
    if (header.error().status < 400 || header.error().reason.empty()) __builtin_trap();
    return 0;
  }
  if (header->width == 0 || header->height == 0 || header->channels == 0) __builtin_trap();
  return 0;
}
