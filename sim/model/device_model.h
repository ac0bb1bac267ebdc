#pragma once

#include <cstdint>

#include "model/layout.h"

/// What a device does with time. Pure functions on a private copy of a DeviceValue: they make no
/// system call and read no clock, so any observer may run them.
namespace gpuward::gpusim {

/// Where prediction may stop: when @p context has executed @p executed_ns in total.
struct Target {
  std::uint32_t context;
  std::uint64_t executed_ns;
};

/// Lets the device run until @p to (CLOCK_MONOTONIC, ns). An earlier @p to changes nothing.
/// Contexts take turns of slice_ns, or overlap under mps and MIG. Then memory whose
/// time has come returns, and checkpoint copies that are due end.
void advance(DeviceValue& device, std::uint64_t to);

/// Runs @p device (a private copy) ahead until the target is reached, at most to @p horizon.
/// @return the instant of that.
std::uint64_t run_until(DeviceValue& device, Target target, std::uint64_t horizon);

/// Bytes in use: contexts, foreign and phantom memory, without what the driver reserves.
std::uint64_t used_bytes(const DeviceValue& device);
std::uint64_t free_bytes(const DeviceValue& device);

/// What a context can have at most: the card without the driver's reserve, or a MIG instance of it.
std::uint64_t room_bytes(const DeviceValue& device);
/// The same of one instance; of the whole card where MIG mode is off.
std::uint64_t used_bytes(const DeviceValue& device, std::uint32_t instance);
std::uint64_t free_bytes(const DeviceValue& device, std::uint32_t instance);

/// Index of that context, or context_count.
std::uint32_t find_context(const DeviceValue& device, std::uint32_t slot, std::uint32_t generation,
                           std::uint32_t id);
/// Adds an empty context of the device's context_bytes. @return nullptr when the table is full.
ContextValue* add_context(DeviceValue& device, std::uint32_t slot, std::uint32_t generation,
                          std::uint32_t id);
void remove_context(DeviceValue& device, std::uint32_t index);

/// The owner of @p index is gone: its work stops and its row ends.
/// @param memory_held  a forked child still holds the memory; it then comes back later.
void end_owner(DeviceValue& device, std::uint32_t index, bool memory_held);

inline bool is_pending(const ContextValue& context) {
  return context.submitted_ns > context.executed_ns;
}
/// Contexts other than @p index that want the device.
std::uint32_t competitors(const DeviceValue& device, std::uint32_t index);

/// Percent of the @p bins newest complete sampling periods in which any kernel ran.
unsigned busy_percent(const DeviceValue& device, unsigned bins = 1);
/// The same for one context. @p bins <= kContextBins - 1
unsigned busy_percent(const DeviceValue& device, const ContextValue& context, unsigned bins);

}  // namespace gpuward::gpusim
