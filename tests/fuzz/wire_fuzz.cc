// The bytes are first a body of every kind of message, then a stream of frames cut into pieces.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "control/channel.h"
#include "control/gateway_messages.h"
#include "control/messages.h"

namespace {

using namespace gpuward;

// What could be decoded can be encoded, and then comes back the same: the encoding is canonical.
template <class T>
void check(std::span<const std::byte> fields) {
  auto first = wire::decode<T>({T::kKind, fields});
  if (!first) return;
  static std::vector<std::byte> buffer(1 << 22);
  static std::vector<std::byte> again(1 << 22);
  auto frame = wire::encode(*first, buffer);
  if (!frame) return;
  auto body = wire::open_body(frame->subspan(wire::kFrameHeader));
  if (!body) std::abort();
  auto second = wire::decode<T>(*body);
  if (!second) std::abort();
  auto same = wire::encode(*second, again);
  if (!same || !std::ranges::equal(*frame, *same)) std::abort();
}

void check_frames(std::span<const std::byte> bytes) {
  control::FrameBuffer frames(256);
  std::size_t piece = 1;
  while (!bytes.empty()) {
    auto room = frames.room();
    if (room.empty()) std::abort();
    const std::size_t count = std::min({piece, bytes.size(), room.size()});
    std::ranges::copy(bytes.first(count), room.begin());
    frames.add(count);
    bytes = bytes.subspan(count);
    piece = piece * 3 % 61 + 1;
    for (;;) {
      auto body = frames.next();
      if (!body) return;
      if (!*body) break;
      if ((*body)->kind == AnchorRequest::kKind) check<AnchorRequest>((*body)->fields);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  auto body = wire::open_body(bytes);
  const auto fields = body ? body->fields : bytes;
  check<AnchorRecord>(fields);
  check<LaunchOrder>(fields);
  check<StateNews>(fields);
  check<AnchorRequest>(fields);
  check<JournalEntry>(fields);
  check<WardenRequest>(fields);
  check<WardenAnswer>(fields);
  check<SnapshotNews>(fields);
  check<CardBook>(fields);
  check<HealBook>(fields);
  check<DoorPlan>(fields);
  check<GatewayRequest>(fields);
  check<GatewayAnswer>(fields);
  check_frames(bytes);
  return 0;
}
