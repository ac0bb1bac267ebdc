// The multipart parser: any body, any boundary. Every part must lie inside the body.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "xray/multipart.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gpuward::xray;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  // The first line is the content type, the rest the body, so that one input holds both.
  const auto line = input.substr(0, input.find('\n'));
  const auto body = input.substr(line.size() < input.size() ? line.size() + 1 : input.size());
  const auto boundary = boundary_of(line);
  const auto parts = parse_multipart(body, boundary ? *boundary : "B");
  if (!parts) return 0;
  if (parts->size() > kMaxParts) __builtin_trap();
  for (const auto& part : *parts) {
    const bool inside = part.content.data() >= body.data() &&
                        part.content.data() + part.content.size() <= body.data() + body.size();
    if (!inside) __builtin_trap();
  }
  return 0;
}
