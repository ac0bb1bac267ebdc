#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "model/state_file.h"
#include "nvml/library.h"

using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

namespace {

Return hand_out(unsigned index, Handle** out) {
  if (out == nullptr) return kInvalidArgument;
  if (const Return code = device_problem(index); code != 0) return code;
  *out = handle_of(index);
  return nvml::kSuccess;
}

void format_bus_id(unsigned bus, char* out, std::size_t size) {
  std::snprintf(out, size, "%08X:%02X:00.0", 0U, bus);
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetCount_v2(unsigned* out) {
  GPUSIM_NVML_ENTER();
  return put(out, session().device_count());
}
GPUSIM_NVML nvmlDeviceGetCount(unsigned* out) {
  return nvmlDeviceGetCount_v2(out);
}

GPUSIM_NVML nvmlDeviceGetHandleByIndex_v2(unsigned number, Handle** out) {
  GPUSIM_NVML_ENTER();
  if (number >= session().device_count()) return kInvalidArgument;
  unsigned index = 0;
  if (const Return code = nvml::enter(__func__, handle_of(number), index); code != 0) return code;
  return hand_out(number, out);
}
GPUSIM_NVML nvmlDeviceGetHandleByIndex(unsigned number, Handle** out) {
  return nvmlDeviceGetHandleByIndex_v2(number, out);
}

GPUSIM_NVML nvmlDeviceGetHandleByUUID(const char* uuid, Handle** out) {
  GPUSIM_NVML_ENTER();
  if (uuid == nullptr) return kInvalidArgument;
  for (unsigned i = 0; i < session().device_count(); ++i) {
    if (std::string_view(device_entry(i).uuid) == uuid) return hand_out(i, out);
    for (unsigned instance = 0; instance < device_entry(i).instances; ++instance) {
      if (mig_uuid(device_entry(i), instance) != uuid) continue;
      return put(out, handle_of(i, instance));
    }
  }
  return nvml::kNotFound;
}

GPUSIM_NVML nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, Handle** out) {
  GPUSIM_NVML_ENTER();
  unsigned domain = 0;
  unsigned bus = 0;
  if (bus_id == nullptr || std::sscanf(bus_id, "%x:%x:", &domain, &bus) != 2) {
    return kInvalidArgument;
  }
  for (unsigned i = 0; i < session().device_count(); ++i) {
    if (domain == 0 && device_entry(i).pci_bus == bus) return hand_out(i, out);
  }
  return nvml::kNotFound;
}
GPUSIM_NVML nvmlDeviceGetHandleByPciBusId(const char* bus_id, Handle** out) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus_id, out);
}

GPUSIM_NVML nvmlDeviceGetIndex(Handle* device, unsigned* out) {
  GPUSIM_NVML_INSTANCE(device);
  return put(out, instance == kNoInstance ? index : instance);
}
GPUSIM_NVML nvmlDeviceGetMinorNumber(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, index);
}
GPUSIM_NVML nvmlDeviceGetUUID(Handle* device, char* out, unsigned length) {
  GPUSIM_NVML_INSTANCE(device);
  if (instance == kNoInstance) return put_text(device_entry(index).uuid, out, length);
  return put_text(mig_uuid(device_entry(index), instance).c_str(), out, length);
}
GPUSIM_NVML nvmlDeviceGetName(Handle* device, char* out, unsigned length) {
  GPUSIM_NVML_INSTANCE(device);
  if (instance == kNoInstance) return put_text(device_entry(index).name, out, length);
  const std::uint64_t room =
      session().look(index, [](const DeviceValue& value) { return room_bytes(value); });
  return put_text(mig_name(device_entry(index), room).c_str(), out, length);
}

GPUSIM_NVML nvmlDeviceGetPciInfo_v3(Handle* device, PciInfo* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  const unsigned bus = device_entry(index).pci_bus;
  *out = {};
  std::snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "0000:%02X:00.0", bus);
  format_bus_id(bus, out->bus_id, sizeof out->bus_id);
  out->bus = bus;
  out->device_id = 0x233510de;  // vendor in the low half, as the real library
  return nvml::kSuccess;
}

namespace {

/// The structs of the two older forms end before the long bus id; only what they share is written.
Return put_old_pci_info(Handle* device, void* out) {
  if (out == nullptr) return kInvalidArgument;
  PciInfo info;
  if (const Return code = nvmlDeviceGetPciInfo_v3(device, &info); code != 0) return code;
  std::memcpy(out, &info, offsetof(PciInfo, bus_id));
  return nvml::kSuccess;
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetPciInfo_v2(Handle* device, void* out) {
  return put_old_pci_info(device, out);
}
GPUSIM_NVML nvmlDeviceGetPciInfo(Handle* device, void* out) {
  return put_old_pci_info(device, out);
}

GPUSIM_NVML nvmlDeviceGetCudaComputeCapability(Handle* device, int* major, int* minor) {
  GPUSIM_NVML_INSTANCE(device);
  if (major == nullptr || minor == nullptr) return kInvalidArgument;
  *major = device_entry(index).architecture == kAmpere ? 8 : 9;
  *minor = 0;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetArchitecture(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, device_entry(index).architecture);
}

GPUSIM_NVML nvmlDeviceGetMemoryInfo(Handle* device, Memory* out) {
  GPUSIM_NVML_INSTANCE(device);
  if (out == nullptr) return kInvalidArgument;
  session().sweep_recent(index);
  session().look(index, [&](const DeviceValue& value) {
    const bool whole = instance == kNoInstance;
    const std::uint64_t total = whole ? value.total_bytes : room_bytes(value);
    const std::uint64_t free = whole ? free_bytes(value) : free_bytes(value, instance);
    *out = {total, free, total - free};  // "used" includes the reserve
    return 0;
  });
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetMemoryInfo_v2(Handle* device, MemoryV2* out) {
  GPUSIM_NVML_INSTANCE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kMemoryV2Tag) return kArgumentVersionMismatch;
  session().sweep_recent(index);
  session().look(index, [&](const DeviceValue& value) {
    if (instance != kNoInstance) {
      out->total = room_bytes(value);
      out->reserved = 0;
      out->free = free_bytes(value, instance);
      out->used = used_bytes(value, instance);
      return 0;
    }
    out->total = value.total_bytes;
    out->reserved = value.reserved_bytes;
    out->free = free_bytes(value);
    out->used = used_bytes(value);
    return 0;
  });
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetBAR1MemoryInfo(Handle* device, Memory* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  constexpr std::uint64_t kSize = std::uint64_t{64} << 30;
  *out = {kSize, kSize - (std::uint64_t{2} << 20), std::uint64_t{2} << 20};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetPersistenceMode(Handle* device, int* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, health_entry(index).persistence.load());
}

namespace {

/// For the many calls whose answer on a simulated card is always 0.
Return put_zero(Return code, int* out) {
  if (code != 0) return code;
  if (out == nullptr) return kInvalidArgument;
  *out = 0;
  return nvml::kSuccess;
}

}  // namespace

#define GPUSIM_NVML_ZERO(name)                                  \
  GPUSIM_NVML name(Handle* device, int* out) {                  \
    unsigned index = 0;                                         \
    return put_zero(nvml::enter(__func__, device, index), out); \
  }
GPUSIM_NVML_ZERO(nvmlDeviceGetComputeMode)
GPUSIM_NVML_ZERO(nvmlDeviceGetDisplayActive)
GPUSIM_NVML_ZERO(nvmlDeviceGetDisplayMode)
GPUSIM_NVML_ZERO(nvmlDeviceGetNumaNodeId)

GPUSIM_NVML nvmlDeviceGetTopologyCommonAncestor(Handle* device, Handle* other, int* out) {
  GPUSIM_NVML_DEVICE(device);
  unsigned second = 0;
  if (const Return code = nvml::enter(__func__, other, second); code != 0) return code;
  // Four cards below a host bridge, eight on a NUMA node.
  if (index == second) return put(out, 0);
  if (index / 4 == second / 4) return put(out, 30);
  return put(out, index / 8 == second / 8 ? 40 : 50);
}

namespace {

/// Every CPU of this machine: a simulated card is near to all of them.
Return put_cpus(unsigned words, unsigned long* mask) {
  if (mask == nullptr || words == 0) return kInvalidArgument;
  constexpr unsigned kBits = 8 * sizeof(unsigned long);
  const long cpus = ::sysconf(_SC_NPROCESSORS_CONF);
  std::fill(mask, mask + words, 0UL);
  for (unsigned cpu = 0; cpu < static_cast<unsigned>(cpus) && cpu / kBits < words; ++cpu) {
    mask[cpu / kBits] |= 1UL << cpu % kBits;
  }
  return kSuccess;
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetCpuAffinity(Handle* device, unsigned words, unsigned long* mask) {
  GPUSIM_NVML_DEVICE(device);
  return put_cpus(words, mask);
}
GPUSIM_NVML nvmlDeviceGetCpuAffinityWithinScope(Handle* device, unsigned words, unsigned long* mask,
                                                unsigned scope) {
  GPUSIM_NVML_DEVICE(device);
  return scope > 1 ? kInvalidArgument : put_cpus(words, mask);
}
GPUSIM_NVML nvmlDeviceGetMemoryAffinity(Handle* device, unsigned words, unsigned long* mask,
                                        unsigned scope) {
  GPUSIM_NVML_DEVICE(device);
  if (mask == nullptr || words == 0 || scope > 1) return kInvalidArgument;
  std::fill(mask, mask + words, 0UL);
  mask[0] = 1;  // node 0
  return nvml::kSuccess;
}
