#include "sentinel/frame.h"

#include "control/messages.h"

namespace gpuward::sentinel {

Result<std::vector<std::byte>> frame_of(const GpuSnapshot& snapshot) {
  const SnapshotNews news{snapshot};
  // Grown as needed: a buffer for the largest one would be 16 MiB of touched pages.
  std::vector<std::byte> buffer(wire::kMaxSmall + wire::kFrameHeader);
  auto frame = wire::encode(news, buffer);
  for (std::size_t size = 2 * wire::kMaxSmall; !frame && size <= wire::kMaxLarge; size *= 2) {
    buffer.resize(size + wire::kFrameHeader);
    frame = wire::encode(news, buffer);
  }
  if (!frame) return fail(std::move(frame).error());
  buffer.resize(frame->size());
  return buffer;
}

}  // namespace gpuward::sentinel
