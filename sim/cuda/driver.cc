#include "cuda/driver.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "model/faults.h"
#include "model/state_file.h"

namespace gpuward::gpusim {

Driver& driver() {
  // Never destroyed: see process_session.cc.
  static auto* instance = new Driver;
  return *instance;
}

CUresult enter_ungated(const char* function) {
  Driver& self = driver();
  if (!self.ready.load(std::memory_order_acquire) || self.mark.in_child()) return kNotInitialized;
  Session& session = process_session();
  const Header& header = session.state().header;
  const std::uint32_t flags = header.flags.load(std::memory_order_relaxed);
  if (flags != 0) {
    if ((flags & kDestroyed) != 0) return kUnknown;
    if ((flags & kHostLost) != 0) wait_while_host_lost(session);
  }
  if (header.fault_count.load(std::memory_order_relaxed) != 0) {
    Context* context = current_context();
    const int device = context == nullptr ? -1 : static_cast<int>(context->device);
    if (const auto code = apply_faults(session, function, device)) return *code;
  }
  if (!session.owns_slot()) return kUnknown;  // all descriptors were closed under us
  return static_cast<CUresult>(session.own_slot().sticky.load(std::memory_order_relaxed));
}

CUresult enter(const char* function) {
  if (const CUresult code = enter_ungated(function); code != 0) return code;
  SlotEntry& slot = process_session().own_slot();
  while (slot.gate.load(std::memory_order_relaxed) != static_cast<std::uint32_t>(Gate::kOpen)) {
    const std::uint32_t seen = slot.wake.load();
    if (slot.gate.load() == static_cast<std::uint32_t>(Gate::kOpen)) break;
    wait_on(slot.wake, seen, kNever);
  }
  return static_cast<CUresult>(slot.sticky.load(std::memory_order_relaxed));
}

CUresult device_problem(unsigned device) {
  const std::uint32_t flags =
      process_session().state().devices[device].flags.load(std::memory_order_relaxed);
  return (flags & (kOffTheBus | kResetRequired)) != 0 ? kUnknown : kSuccess;
}

namespace {

/// The card whose UUID begins so, or one of whose MIG instances has that UUID: which instance a
/// process uses is decided here.
unsigned device_named(const StateFile& state, const std::string& item) {
  unsigned match = kMaxDevices;
  for (unsigned i = 0; i < state.header.device_count; ++i) {
    const DeviceEntry& device = state.devices[i];
    if (item.size() > 4 && std::string_view(device.uuid).starts_with(item)) match = i;
    for (unsigned instance = 0; instance < device.instances; ++instance) {
      if (mig_uuid(device, instance) != item) continue;
      driver().instance = instance;
      match = i;
    }
  }
  return match;
}

/// Which devices this process may see: CUDA_VISIBLE_DEVICES holds ordinals or UUIDs (a prefix will
/// do); the first one that names nothing ends the list, as with the real driver.
std::vector<unsigned> visible_devices(const StateFile& state) {
  std::vector<unsigned> found;
  const char* text = std::getenv("CUDA_VISIBLE_DEVICES");
  if (text == nullptr) {
    for (unsigned i = 0; i < state.header.device_count; ++i) found.push_back(i);
    return found;
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string item(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    unsigned match = kMaxDevices;
    char* end = nullptr;
    const unsigned long number = std::strtoul(item.c_str(), &end, 10);
    if (end != item.c_str() && *end == 0) {
      if (number < state.header.device_count) match = static_cast<unsigned>(number);
    } else {
      match = device_named(state, item);
    }
    if (match == kMaxDevices || std::find(found.begin(), found.end(), match) != found.end()) break;
    found.push_back(match);
  }
  return found;
}

CUresult code_for(Open status) {
  switch (status) {
    case Open::kOk:
      return kSuccess;
    case Open::kAbsent:
    case Open::kGone:
    case Open::kOtherBoot:
      return kNoDevice;
    case Open::kFull:
      return kOutOfMemory;
    case Open::kForbidden:
      return kNotPermitted;
    default:
      return kUnknown;
  }
}

}  // namespace

CUresult initialize() {
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  if (self.ready.load()) return self.mark.in_child() ? kNotInitialized : kSuccess;
  Session& session = process_session();
  if (const Open status = session.open(); status != Open::kOk) return code_for(status);
  wait_while_host_lost(session);
  if ((session.state().header.flags.load() & kDriverMismatch) != 0) return kSystemDriverMismatch;
  if (const auto code = apply_faults(session, "cuInit", -1)) return *code;
  if (const Open status = session.attach(); status != Open::kOk) return code_for(status);
  self.visible = visible_devices(session.state());
  if (self.visible.empty()) return kNoDevice;
  self.primary.resize(session.device_count());
  self.mark.set();
  self.ready.store(true);
  return kSuccess;
}

}  // namespace gpuward::gpusim
