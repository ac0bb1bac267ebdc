#pragma once

#include <string>

namespace gpuward {

/// What the warden watches on this machine, beside its services.
struct HostPolicy {
  std::string kernel_log = "/dev/kmsg";  ///< a device, a FIFO or a file of lines; empty: not read
  friend bool operator==(const HostPolicy&, const HostPolicy&) = default;
};

}  // namespace gpuward
