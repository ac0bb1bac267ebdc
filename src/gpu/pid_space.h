#pragma once

#include <cstdint>

namespace gpuward::gpu {

/// How the pids of the driver's rows relate to ours.
struct PidSpace {
  /// Every row's number names the local process of that number. True only in the machine's initial
  /// PID namespace: elsewhere older drivers speak the host's numbers, which may belong to an
  /// innocent process here, and nothing in a row tells which kind of driver it is.
  bool ours = false;
  std::uint32_t max = 0;   ///< the highest pid that a row may carry
  bool contained = false;  ///< we run in a container, which can lose its devices
};

/// Reads /proc once; a /proc that cannot be read means "not ours" and "contained".
PidSpace read_pid_space();

/// Does the device controller of our cgroup refuse /dev/nvidia@p minor? A refusal by the file's
/// mode is another one, and does not count.
bool device_file_is_denied(std::uint32_t minor);

}  // namespace gpuward::gpu
