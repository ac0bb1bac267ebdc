#include "sentinel/frame.h"

#include "control/messages.h"

namespace gpuward::sentinel {

Result<std::vector<std::byte>> frame_of(const GpuSnapshot& snapshot) {
  const SnapshotNews news{snapshot};
  std::vector<std::byte> buffer(wire::kMaxSmall + wire::kFrameHeader);
  auto frame = wire::encode(news, buffer);
  if (!frame) {
    buffer.resize(wire::kMaxLarge + wire::kFrameHeader);
    frame = wire::encode(news, buffer);
  }
  if (!frame) return fail(std::move(frame).error());
  buffer.resize(frame->size());
  return buffer;
}

}  // namespace gpuward::sentinel
