#pragma once

#include "nvml/library.h"

/// What a card's sensors say: as it is used, unless a fault says otherwise.
namespace gpuward::gpusim::nvml {

struct Reading {
  unsigned gpu_percent;
  unsigned memory_percent;
  std::uint64_t busy_ns;
  std::uint64_t now;
};
Reading read_device(unsigned index);

// Bits of the clock event reasons, as indices into HealthEntry::held_down.
inline constexpr unsigned kPowerCap = 2;
inline constexpr unsigned kHardwareSlowdown = 3;
inline constexpr unsigned kSyncBoost = 4;
inline constexpr unsigned kSoftwareThermal = 5;
inline constexpr unsigned kHardwareThermal = 6;
inline constexpr unsigned kPowerBrake = 7;

/// NVML's mask.
std::uint64_t clock_reasons(unsigned index);
/// How long that reason has held the clocks down since the card was made.
std::uint64_t held_down_ns(unsigned index, unsigned reason);
int temperature(unsigned index);
int memory_temperature(unsigned index);
unsigned power_mw(unsigned index);
/// What the load alone would make of it.
unsigned power_mw(const DeviceEntry& device, unsigned percent);
std::uint64_t energy_mj(unsigned index);
unsigned clock_mhz(unsigned index, int kind);
unsigned max_clock_mhz(int kind);

struct Copied {
  std::uint64_t to_card, from_card;  ///< bytes
};
Copied copied(unsigned index);

}  // namespace gpuward::gpusim::nvml
