#include "nvml/library.h"

/// Names that must exist because readers look for them, and that answer "not supported": nvtop
/// shows no card at all when one of its names is missing. C's calling convention lets them ignore
/// what they are given.
#define GPUSIM_NVML_UNSUPPORTED(name)                               \
  GPUSIM_NVML name() {                                              \
    const auto code = gpuward::gpusim::nvml::enter(__func__);       \
    return code != 0 ? code : gpuward::gpusim::nvml::kNotSupported; \
  }

GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetFanSpeed)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetFanSpeed_v2)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetDriverModel)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetConfComputeMemSizeInfo)
