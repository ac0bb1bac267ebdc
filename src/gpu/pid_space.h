#pragma once

#include <cstdint>

namespace gpuward::gpu {

/// How the pids of the driver's rows relate to ours.
struct PidSpace {
  /// Every row's number names the local process of that number. True only in the machine's initial
  /// PID namespace: elsewhere older drivers speak the host's numbers, which may belong to an
  /// innocent process here, and nothing in a row tells which kind of driver it is.
  bool ours = false;
  std::uint32_t max = 0;  ///< the highest pid that a row may carry
};

/// Reads /proc once; a /proc that cannot be read means "not ours".
PidSpace read_pid_space();

}  // namespace gpuward::gpu
