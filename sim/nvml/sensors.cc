#include <algorithm>
#include <cmath>

#include "nvml/library.h"

/// Utilisation and what follows from it. Heat, power and clocks are simple functions of how busy
/// the card was; they exist so that readers have something plausible to show, not to be studied.
namespace gpuward::gpusim::nvml {
namespace {

struct Reading {
  unsigned gpu_percent;
  unsigned memory_percent;
  std::uint64_t busy_ns;
  std::uint64_t now;
};

Reading read_device(unsigned index) {
  return session().look(index, [](const DeviceValue& device) {
    const unsigned busy = busy_percent(device);
    // Taken as half: what a kernel reads is not simulated.
    return Reading{busy, busy / 2, device.busy_ns, device.now};
  });
}

unsigned power_mw(const DeviceEntry& device, unsigned percent) {
  const unsigned span = device.power_limit_mw - device.power_idle_mw;
  return device.power_idle_mw + span * percent * 9 / 1000;  // 90 % of the limit at full load
}

std::uint64_t energy_mj(unsigned index) {
  const DeviceEntry& device = device_entry(index);
  const Reading reading = read_device(index);
  const auto seconds = static_cast<double>(reading.now - device.created_at) / 1e9;
  const auto busy_seconds = static_cast<double>(reading.busy_ns) / 1e9;
  const double extra = static_cast<double>(power_mw(device, 100) - device.power_idle_mw);
  return static_cast<std::uint64_t>(seconds * device.power_idle_mw + busy_seconds * extra);
}

bool is_throttled(unsigned index) {
  return (device_entry(index).flags.load() & kThrottled) != 0;
}

std::uint64_t clock_reasons(unsigned index) {
  if (is_throttled(index)) return 0x40;  // hardware thermal slowdown
  return read_device(index).gpu_percent == 0 ? 0x1 : 0;
}

unsigned temperature(unsigned index) {
  if (is_throttled(index)) return 89;
  return 34 + read_device(index).gpu_percent * 36 / 100;
}

unsigned max_clock(int kind) {
  switch (kind) {
    case 2:
      return 2619;
    case 3:
      return 1545;
    default:
      return 1980;
  }
}

unsigned clock_of(unsigned index, int kind) {
  if (kind == 2) return max_clock(kind);
  const std::uint32_t rate =
      session().look(index, [](const DeviceValue& device) { return device.rate_permille; });
  if (read_device(index).gpu_percent == 0) return 345;
  return max_clock(kind) * rate / 1000;
}

/// The fields that a simulated card knows.
Return read_field(unsigned index, FieldValue& field) {
  const auto put_u32 = [&](std::uint32_t value) {
    field.type = 1;
    field.value.as_u64 = 0;
    field.value.as_uint = value;
    return kSuccess;
  };
  const auto put_u64 = [&](std::uint64_t value) {
    field.type = 3;
    field.value.as_u64 = value;
    return kSuccess;
  };
  switch (field.id) {
    case 3:
    case 4:
    case 5:
    case 6:  // ECC totals
    case 29:
    case 30:
    case 31:  // retired pages
    case 74:
    case 75:
    case 76:
    case 77:
    case 78:
    case 79:  // ns held down
      return put_u64(0);
    case 82:
      return put_u32(temperature(index) + 4);
    case 83:
    case 191:
      return put_u64(energy_mj(index));
    case 142:
    case 143:
    case 144:
    case 145:
      return put_u32(0);  // remapped rows
    case 185:
    case 186: {
      return put_u32(power_mw(device_entry(index), read_device(index).gpu_percent));
    }
    case 230:
      return put_u32(0);  // recovery action; a lost or stuck card does not get here
    default:
      return kNotSupported;
  }
}

template <class Number, class Value>
Return put(Number* out, Value value) {
  if (out == nullptr) return kInvalidArgument;
  *out = static_cast<Number>(value);
  return kSuccess;
}

}  // namespace
}  // namespace gpuward::gpusim::nvml

using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlDeviceGetUtilizationRates(Handle* device, Utilization* out) {
  GPUSIM_NVML_DEVICE(device);
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
      return put(out, 92);
    case 2:
      return put(out, 95);
    case 3:
      return put(out, 87);
    default:
      return nvml::kNotSupported;
  }
}

GPUSIM_NVML nvmlDeviceGetPowerUsage(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, power_mw(device_entry(index), read_device(index).gpu_percent));
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
  return kind < 0 || kind > 3 ? kInvalidArgument : put(out, clock_of(index, kind));
}
GPUSIM_NVML nvmlDeviceGetMaxClockInfo(Handle* device, int kind, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return kind < 0 || kind > 3 ? kInvalidArgument : put(out, max_clock(kind));
}
GPUSIM_NVML nvmlDeviceGetPerformanceState(Handle* device, int* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, read_device(index).gpu_percent == 0 ? 8 : 0);
}
GPUSIM_NVML nvmlDeviceGetCurrentClocksEventReasons(Handle* device, std::uint64_t* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, clock_reasons(index));
}
GPUSIM_NVML nvmlDeviceGetCurrentClocksThrottleReasons(Handle* device, std::uint64_t* out) {
  return nvmlDeviceGetCurrentClocksEventReasons(device, out);
}

GPUSIM_NVML nvmlDeviceGetPcieThroughput(Handle* device, int, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 0);
}
GPUSIM_NVML nvmlDeviceGetCurrPcieLinkGeneration(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 5);
}
GPUSIM_NVML nvmlDeviceGetMaxPcieLinkGeneration(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 5);
}
GPUSIM_NVML nvmlDeviceGetCurrPcieLinkWidth(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 16);
}
GPUSIM_NVML nvmlDeviceGetMaxPcieLinkWidth(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 16);
}

GPUSIM_NVML nvmlDeviceGetFieldValues(Handle* device, int count, FieldValue* fields) {
  GPUSIM_NVML_DEVICE(device);
  if (fields == nullptr || count < 0) return kInvalidArgument;
  const std::int64_t now = civil_offset_us() + static_cast<std::int64_t>(monotonic_ns() / 1000);
  for (int i = 0; i < count; ++i) {
    fields[i].timestamp = now;
    fields[i].latency_us = 0;
    fields[i].code = read_field(index, fields[i]);
  }
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetSamples(Handle* device, int type, std::uint64_t last_seen, int* value_type,
                                 unsigned* count, Sample* samples) {
  GPUSIM_NVML_DEVICE(device);
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
