#include "nvml/library.h"

/// Events. A set remembers where in the ring of events it stands.
namespace gpuward::gpusim::nvml {

struct EventSet {
  static constexpr std::uint32_t kMagic = 0x45767453;
  std::uint32_t magic;
  std::uint64_t next;
  std::uint64_t masks[kMaxDevices];  ///< what it wants to hear, per card
};

namespace {

constexpr std::uint64_t kSupported = kEventXid | kEventEccCorrected | kEventEccUncorrected |
                                     kEventClock | kEventUnavailable | kEventRecovery;

Return take_event(EventSet& set, EventData& out) {
  const StateFile& state = session().state();
  const std::uint64_t end = state.header.events.load();
  if (end - set.next > kMaxEvents) set.next = end - kMaxEvents;
  while (set.next < end) {
    const std::uint64_t number = set.next++;
    const EventEntry& entry = state.events[number % kMaxEvents];
    const std::uint32_t device = entry.device.load();
    const std::uint32_t xid = entry.xid.load();
    const std::uint64_t type = entry.type.load();
    if (entry.number.load() != number || (set.masks[device] & type) == 0) continue;
    out = {handle_of(device), type, xid, kNoInstance, kNoInstance};
    return kSuccess;
  }
  return kTimeout;
}

Return wait_for_event(EventSet* set, EventData& out, unsigned timeout_ms) {
  if (set == nullptr || set->magic != EventSet::kMagic) return kInvalidArgument;
  const std::uint64_t deadline = monotonic_ns() + std::uint64_t{timeout_ms} * 1'000'000;
  std::atomic<std::uint32_t>& word = session().state().header.event_word;
  for (;;) {
    const std::uint32_t seen = word.load();
    if (take_event(*set, out) == kSuccess) return kSuccess;
    if (monotonic_ns() >= deadline) return kTimeout;
    wait_on(word, seen, deadline);
  }
}

}  // namespace
}  // namespace gpuward::gpusim::nvml

using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlEventSetCreate(EventSet** out) {
  GPUSIM_NVML_ENTER();
  if (out == nullptr) return kInvalidArgument;
  *out = new EventSet{EventSet::kMagic, session().state().header.events.load(), {}};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlEventSetFree(EventSet* set) {
  GPUSIM_NVML_ENTER();
  if (set == nullptr || set->magic != EventSet::kMagic) return kInvalidArgument;
  set->magic = 0;
  delete set;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetSupportedEventTypes(Handle* device, std::uint64_t* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  *out = kSupported;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceRegisterEvents(Handle* device, std::uint64_t mask, EventSet* set) {
  GPUSIM_NVML_DEVICE(device);
  if (set == nullptr || set->magic != EventSet::kMagic) return kInvalidArgument;
  if ((mask & ~kSupported) != 0) return nvml::kNotSupported;
  set->masks[index] |= mask;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlEventSetWait_v2(EventSet* set, EventData* out, unsigned timeout_ms) {
  GPUSIM_NVML_ENTER();
  return out == nullptr ? kInvalidArgument : wait_for_event(set, *out, timeout_ms);
}

GPUSIM_NVML nvmlEventSetWait(EventSet* set, EventDataV1* out, unsigned timeout_ms) {
  GPUSIM_NVML_ENTER();
  if (out == nullptr) return kInvalidArgument;
  EventData data;
  const Return code = wait_for_event(set, data, timeout_ms);
  if (code == nvml::kSuccess) *out = {data.device, data.type, data.data};
  return code;
}
