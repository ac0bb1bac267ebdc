#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/layout.h"

namespace gpuward::gpusim {

/// What `gpusim create` can be told. Times in ns, sizes in bytes.
struct CreateOptions {
  unsigned devices = 1;
  std::uint64_t memory_bytes = std::uint64_t{40} << 30;
  std::uint64_t reserved_bytes = kNever;  ///< kNever: one eightieth of the memory
  std::uint64_t context_bytes = std::uint64_t{256} << 20;
  std::string name = "H200";  ///< "Simulated " is put before it
  std::uint64_t return_delay_ns = 200'000'000;
  std::uint64_t slice_ns = 2'000'000;
  std::uint64_t switch_ns = 0;
  std::uint64_t sample_period_ns = 166'666'667;
  std::uint64_t copy_bytes_per_second = 25'000'000'000;
  std::uint64_t default_kernel_ns = 10'000;
  std::uint64_t host_budget_bytes = std::uint64_t{256} << 30;
  bool auto_sync_spins = false;
  bool mps = false;
  unsigned instances = 0;  ///< MIG instances of each card; 0: MIG mode is off
  std::uint32_t architecture = kHopper;
  bool accounting = false;
};

/// Writes a new state file beside @p path and renames it there, so that nobody sees half a file.
/// Readable and writable by everyone, as /dev/nvidia* are.
/// @return an errno, 0 when done. EEXIST when there is one already and @p replace is false.
int create_state(const std::string& path, const CreateOptions& options, bool replace);

/// Sensors as on a card that nothing is wrong with. The sums of held_down stay, as counters do.
void reset_health(HealthEntry& health);
/// A word of HealthEntry::held_down as ns at @p now (CLOCK_MONOTONIC, ns).
constexpr std::uint64_t held_down_ns(std::uint64_t word, std::uint64_t now) {
  return (word & kHolding) == 0 ? word : now - (word & ~kHolding);
}

/// Of a card's MIG instance: follows from the card's own.
void mig_uuid_bytes(const DeviceEntry& device, unsigned instance, unsigned char (&out)[16]);
std::string mig_uuid(const DeviceEntry& device, unsigned instance);
/// "Simulated H200 MIG 1g.20gb"
std::string mig_name(const DeviceEntry& device, std::uint64_t bytes);

}  // namespace gpuward::gpusim
