#pragma once

#include <string>

#include "domain/gpu.h"
#include "gpu/caller.h"

// What a card tells beside its memory and its processes. Nothing here decides on the card's state:
// a value that cannot be had says why.

namespace gpuward::gpu {

/// Temperatures, power, clocks and what holds them down.
void read_climate(const Caller& caller, GpuClimate& climate);

/// The way to the host. Byte counters, not nvmlDeviceGetPcieThroughput, which sleeps 20 ms inside.
void read_link(const Caller& caller, GpuLink& link);

/// Counts of errors, repairs and the driver's own advice.
void read_errors(const Caller& caller, GpuErrors& errors);

/// Where the card is and what it is: once.
/// @param sysfs  "/sys"
void read_place(const Caller& caller, const std::string& sysfs, GpuPlace& place);

/// What an administrator may switch.
void read_modes(const Caller& caller, GpuPlace& place);

/// The card's MIG instances, at most kMostInstances; none where MIG is off.
std::vector<GpuInstance> read_instances(const Caller& caller);

/// A process that was in the card's list at the look before, and is not any more.
struct Leaver {
  std::uint32_t pid = 0;
  std::uint8_t asked = 0;
};
inline constexpr std::size_t kMostLeavers = 256;

/// Asks the driver's accounting, where it is on, for what each of @p leavers came to, and moves
/// those it answers for to the end of @p ended, of which the newest kMostEnded stay. Who is asked
/// for five times in vain is dropped.
void read_ended(const Caller& caller, std::vector<Leaver>& leavers, std::vector<GpuEnded>& ended);

/// "00000000:65:00.0", as NVML writes a PCI address, in the form of sysfs: "0000:65:00.0". Empty
/// for what is none.
std::string sysfs_bus_id(std::string_view nvml);

/// The version in a text of /proc/driver/nvidia/version: "570.86.10". Empty where there is none.
std::string module_version_in(std::string_view text);

}  // namespace gpuward::gpu
