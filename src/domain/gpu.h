#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/pid.h"
#include "base/units.h"

namespace gpuward {

/// What can be said about the GPUs of this machine as a whole. Each is an answer, none an error.
enum class GpuSight : std::uint8_t {
  unknown = 0,  ///< nobody has looked yet
  visible = 1,
  no_library = 2,  ///< libnvidia-ml.so.1 is not here: no driver is installed
  no_driver = 3,   ///< the library is here, the kernel module is not loaded
  no_gpu = 4,
  mismatch = 5,  ///< NVML 18: the driver was changed underneath
  no_permission = 6,
  failed = 7,  ///< another NVML code; see detail
  hung = 8,    ///< a call did not come back
};

enum class GpuState : std::uint8_t {
  ok = 0,
  lost = 1,            ///< NVML 15: fell off the bus
  reset_required = 2,  ///< NVML 16
  suspect = 3,         ///< a call passed its deadline
  unreadable = 4,      ///< other NVML codes
};

/// "ok": a contract of the JSON output.
std::string_view to_string(GpuState state);

/// A row of the driver's process list. The pid is the driver's word: it is ours only where
/// GpuSnapshot::pids_are_ours (harm.md 4).
struct GpuProcess {
  std::uint32_t pid = 0;
  std::uint64_t start_ticks =
      0;  ///< of the local process with that number, read at the same time; 0: none
  std::optional<Bytes> memory;  ///< absent: the driver does not say
  std::optional<std::uint32_t> sm_percent;
  std::uint8_t kind = 0;  ///< 0 compute, 1 graphics, 2 MPS
};

struct GpuDevice {
  std::string uuid;
  std::string name;
  std::uint32_t index = 0;
  GpuState state = GpuState::ok;
  Bytes memory_total;
  Bytes memory_used;
  std::optional<std::uint32_t> busy_percent;
  std::vector<GpuProcess> processes;
  bool processes_visible = false;  ///< false: the list could not be read; empty then says nothing
  std::int64_t read_ns = 0;        ///< CLOCK_MONOTONIC of the last good read
};

/// One look at all cards.
struct GpuSnapshot {
  GpuSight sight = GpuSight::unknown;
  std::string detail;  ///< "driver 570.86", or what went wrong
  bool pids_are_ours = false;
  std::vector<GpuDevice> devices;
  std::int64_t taken_ns = 0;  ///< CLOCK_MONOTONIC
};

/// One sentence for people: "no GPU library (libnvidia-ml.so.1): ...". Empty when visible.
std::string describe(GpuSight sight, const std::string& detail);

}  // namespace gpuward
