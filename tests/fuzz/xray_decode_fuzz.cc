// Whole PNG and JPEG films of at most one megapixel, as the service decodes them.
#include <cstddef>
#include <cstdint>
#include <span>

#include "xray/decode.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward::xray;
  const auto film = decode(std::as_bytes(std::span(data, size)), 1'000'000);
  if (film && film->grey.size() != film->header.pixels()) __builtin_trap();
  return 0;
}
