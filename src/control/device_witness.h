#pragma once

#include <vector>

#include "domain/gpu.h"
#include "os/device_holders.h"

namespace gpuward::control {

/// Where the driver's device files are; $GPUWARD_DEVICES names another prefix.
std::string device_prefix();

/// What was seen of who has the driver's devices open, as the domain has it.
std::vector<DeviceHolder> as_holders(const std::vector<os::DeviceUse>& uses);

}  // namespace gpuward::control
