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
  bool accounting = false;
};

/// Writes a new state file beside @p path and renames it there, so that nobody sees half a file.
/// Readable and writable by everyone, as /dev/nvidia* are.
/// @return an errno, 0 when done. EEXIST when there is one already and @p replace is false.
int create_state(const std::string& path, const CreateOptions& options, bool replace);

}  // namespace gpuward::gpusim
