#include "control/wire.h"

namespace gpuward::wire {

Result<Body> open_body(std::span<const std::byte> body) {
  if (body.size() < kBodyHeader || body[0] != std::byte{'g'} || body[1] != std::byte{'w'})
    return fail(Errc::bad_message, "read a message that is not gpuward's");
  // A later version keeps this header and adds tags, so any version from 1 on can be read.
  if (body[2] < std::byte{kVersion}) return fail(Errc::bad_message, "read a message of version 0");
  return Body{static_cast<std::uint8_t>(body[3]), body.subspan(kBodyHeader)};
}

std::size_t frame_length(std::span<const std::byte, kFrameHeader> header) {
  std::size_t length = 0;
  for (std::size_t n = kFrameHeader; n-- > 0;)
    length = length << 8 | static_cast<std::size_t>(header[n]);
  return length;
}

}  // namespace gpuward::wire
