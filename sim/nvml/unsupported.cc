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
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetAccountingStats_v2)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceClearAccountingPids)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetViolationStatus)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetMarginTemperature)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetSramEccErrorStatus)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetRowRemapperHistogram)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetRepairStatus)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceValidateInforom)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetCpuAffinity)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetCpuAffinityWithinScope)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetMemoryAffinity)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetMigDeviceHandleByIndex)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetGpuInstanceId)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetComputeInstanceId)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetAttributes_v2)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetAttributes)
GPUSIM_NVML_UNSUPPORTED(nvmlDeviceGetConfComputeMemSizeInfo)
GPUSIM_NVML_UNSUPPORTED(nvmlGpmQueryDeviceSupport)
GPUSIM_NVML_UNSUPPORTED(nvmlGpmSampleAlloc)
GPUSIM_NVML_UNSUPPORTED(nvmlGpmSampleFree)
GPUSIM_NVML_UNSUPPORTED(nvmlGpmSampleGet)
GPUSIM_NVML_UNSUPPORTED(nvmlGpmMigSampleGet)
GPUSIM_NVML_UNSUPPORTED(nvmlGpmMetricsGet)
