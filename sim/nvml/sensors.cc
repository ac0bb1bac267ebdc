#include <algorithm>

#include "nvml/readings.h"

/// Utilisation, heat, power and clocks.
using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

namespace {
constexpr int kSlowdownDegrees = 92;
}

GPUSIM_NVML nvmlDeviceGetUtilizationRates(Handle* device, Utilization* out) {
  GPUSIM_NVML_DEVICE(device);
  if (device_entry(index).instances > 0) return nvml::kNotSupported;
  const Reading reading = read_device(index);
  return put(out, Utilization{reading.gpu_percent, reading.memory_percent});
}

GPUSIM_NVML nvmlDeviceGetEncoderUtilization(Handle* device, unsigned* percent, unsigned* period) {
  GPUSIM_NVML_DEVICE(device);
  if (const Return code = put(percent, 0); code != 0) return code;
  return put(period, 167000);
}
GPUSIM_NVML nvmlDeviceGetDecoderUtilization(Handle* device, unsigned* percent, unsigned* period) {
  return nvmlDeviceGetEncoderUtilization(device, percent, period);
}

GPUSIM_NVML nvmlDeviceGetTemperature(Handle* device, int sensor, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return sensor == 0 ? put(out, temperature(index)) : kInvalidArgument;
}

GPUSIM_NVML nvmlDeviceGetTemperatureV(Handle* device, Temperature* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr || out->sensor != 0) return kInvalidArgument;
  if (out->version != kTemperatureTag) return kArgumentVersionMismatch;
  return put(&out->degrees, temperature(index));
}

GPUSIM_NVML nvmlDeviceGetTemperatureThreshold(Handle* device, int kind, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  switch (kind) {
    case 0:
      return put(out, 95);
    case 1:
      return put(out, kSlowdownDegrees);
    case 2:
      return put(out, 95);
    case 3:
      return put(out, 87);
    default:
      return nvml::kNotSupported;
  }
}

GPUSIM_NVML nvmlDeviceGetMarginTemperature(Handle* device, MarginTemperature* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kMarginTag) return kArgumentVersionMismatch;
  return put(&out->degrees, kSlowdownDegrees - temperature(index));
}

GPUSIM_NVML nvmlDeviceGetPowerUsage(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, power_mw(index));
}
GPUSIM_NVML nvmlDeviceGetEnforcedPowerLimit(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, device_entry(index).power_limit_mw);
}
GPUSIM_NVML nvmlDeviceGetPowerManagementLimit(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, device_entry(index).power_limit_mw);
}
GPUSIM_NVML nvmlDeviceGetPowerManagementDefaultLimit(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, device_entry(index).power_limit_mw);
}
GPUSIM_NVML nvmlDeviceGetTotalEnergyConsumption(Handle* device, std::uint64_t* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, energy_mj(index));
}

GPUSIM_NVML nvmlDeviceGetClockInfo(Handle* device, int kind, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return kind < 0 || kind > 3 ? kInvalidArgument : put(out, clock_mhz(index, kind));
}
GPUSIM_NVML nvmlDeviceGetMaxClockInfo(Handle* device, int kind, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return kind < 0 || kind > 3 ? kInvalidArgument : put(out, max_clock_mhz(kind));
}
GPUSIM_NVML nvmlDeviceGetPerformanceState(Handle* device, int* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, read_device(index).gpu_percent == 0 ? 8 : 0);
}
GPUSIM_NVML nvmlDeviceGetSamples(Handle* device, int type, std::uint64_t last_seen, int* value_type,
                                 unsigned* count, Sample* samples) {
  GPUSIM_NVML_DEVICE(device);
  if (type > 0 && device_entry(index).instances > 0) return nvml::kNotSupported;
  if (count == nullptr) return kInvalidArgument;
  if (type < 0 || type > 2) return nvml::kNotSupported;  // power, GPU, memory
  if (value_type != nullptr) *value_type = 1;
  if (samples == nullptr) return put(count, kDeviceBins);
  const std::int64_t offset = civil_offset_us();
  const std::uint64_t created_at = device_entry(index).created_at;
  unsigned used = 0;
  session().look(index, [&](const DeviceValue& value) {
    const std::uint64_t newest = value.last_bin;  // still open
    const std::uint64_t oldest = std::max(newest + 1 > kDeviceBins ? newest + 1 - kDeviceBins : 0,
                                          created_at / value.bin_ns);
    for (std::uint64_t bin = oldest; bin < newest && used < *count; ++bin) {
      const auto ends = static_cast<std::uint64_t>(
          static_cast<std::int64_t>((bin + 1) * value.bin_ns / 1000) + offset);
      if (ends <= last_seen) continue;
      const std::uint64_t busy = value.bins[bin % kDeviceBins];
      const auto percent = static_cast<unsigned>(
          std::min<std::uint64_t>(100, (busy * 100 + value.bin_ns / 2) / value.bin_ns));
      Sample& sample = samples[used++];
      sample.timestamp = ends;
      sample.value.as_u64 = 0;
      sample.value.as_uint = type == 1   ? percent
                             : type == 2 ? percent / 2
                                         : power_mw(device_entry(index), percent);
    }
    return 0;
  });
  *count = used;
  return used == 0 ? nvml::kNotFound : nvml::kSuccess;
}
