#include "nvml/readings.h"

/// GPM: values from the difference of two samples. A card made as an older generation has none.
namespace gpuward::gpusim::nvml {

struct GpmSample {
  static constexpr std::uint32_t kMagic = 0x47706d00;
  std::uint32_t magic;
  std::uint32_t device;  ///< kMaxDevices: not filled yet
  std::uint64_t at;
  std::uint64_t busy_ns;
  std::uint64_t switches;
  std::uint64_t switch_ns;  ///< what one costs
  std::uint64_t to_card, from_card;
};

namespace {

bool is_sample(const GpmSample* sample) {
  return sample != nullptr && sample->magic == GpmSample::kMagic;
}

bool has_gpm(unsigned index) {
  return device_entry(index).architecture >= kHopper;
}

/// What lies between two samples of one card.
struct Span {
  double seconds, busy_percent, switches, switch_ns, to_card, from_card;
};

constexpr double kMib = 1 << 20;

// How a kernel uses the card is not simulated: these stand for one that fills half of it.
constexpr double kBusyUnits = 0.8;
constexpr double kOccupancy = 0.5;
constexpr double kTensor = 0.4;
constexpr double kMemoryTime = 0.5;

/// False: not known on a simulated card.
bool read_metric(const Span& span, std::uint32_t id, double& out) {
  const double cycles = span.seconds * max_clock_mhz(0) * 1e6;
  const double per_switch = span.switch_ns * max_clock_mhz(0) / 1e3;
  switch (id) {
    case 1:  // graphics or compute engine active, percent
      out = span.busy_percent;
      return true;
    case 2:
      out = span.busy_percent * kBusyUnits;
      return true;
    case 3:
      out = span.busy_percent * kOccupancy;
      return true;
    case 5:
      out = span.busy_percent * kTensor;
      return true;
    case 10:
      out = span.busy_percent * kMemoryTime;
      return true;
    case 20:  // sent by the card, MiB/s
      out = span.from_card / kMib / span.seconds;
      return true;
    case 21:
      out = span.to_card / kMib / span.seconds;
      return true;
    case 170:  // context switches of the first engine: cycles elapsed, active, requests, ...
      out = cycles;
      return true;
    case 171:
      out = span.switches * per_switch;
      return true;
    case 172:
      out = span.switches;
      return true;
    case 173:
      out = span.switches > 0 ? per_switch : 0;
      return true;
    case 174:
      out = 100 * span.switches * per_switch / cycles;
      return true;
    default:
      return false;
  }
}

Return compare(const GpmSample& first, const GpmSample& second, Span& out) {
  if (first.device >= kMaxDevices || first.device != second.device) return kInvalidArgument;
  if (second.at <= first.at) return kInvalidArgument;
  const auto since = [](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(to - from);
  };
  const double ns = since(first.at, second.at);
  out = {ns / 1e9,
         100 * since(first.busy_ns, second.busy_ns) / ns,
         since(first.switches, second.switches),
         static_cast<double>(second.switch_ns),
         since(first.to_card, second.to_card),
         since(first.from_card, second.from_card)};
  return kSuccess;
}

}  // namespace
}  // namespace gpuward::gpusim::nvml

using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlGpmQueryDeviceSupport(Handle* device, GpmSupport* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kGpmVersion) return kArgumentVersionMismatch;
  return put(&out->supported, has_gpm(index) ? 1 : 0);
}

GPUSIM_NVML nvmlGpmSampleAlloc(GpmSample** out) {
  GPUSIM_NVML_ENTER();
  if (out == nullptr) return kInvalidArgument;
  *out = new GpmSample{GpmSample::kMagic, kMaxDevices, 0, 0, 0, 0, 0, 0};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlGpmSampleFree(GpmSample* sample) {
  GPUSIM_NVML_ENTER();
  if (!is_sample(sample)) return kInvalidArgument;
  sample->magic = 0;
  delete sample;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlGpmSampleGet(Handle* device, GpmSample* sample) {
  GPUSIM_NVML_DEVICE(device);
  if (!is_sample(sample)) return kInvalidArgument;
  if (!has_gpm(index)) return nvml::kNotSupported;
  session().look(index, [&](const DeviceValue& value) {
    *sample = {GpmSample::kMagic, index,           value.now,     value.busy_ns,
               value.switches,    value.switch_ns, value.to_card, value.from_card};
    return 0;
  });
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlGpmMigSampleGet(Handle* device, unsigned, GpmSample* sample) {
  GPUSIM_NVML_DEVICE(device);
  return is_sample(sample) ? nvml::kNotSupported : kInvalidArgument;
}

GPUSIM_NVML nvmlGpmMetricsGet(GpmMetrics* inout) {
  GPUSIM_NVML_ENTER();
  if (inout == nullptr || !is_sample(inout->first) || !is_sample(inout->second)) {
    return kInvalidArgument;
  }
  if (inout->version != kGpmVersion) return kArgumentVersionMismatch;
  Span span = {};
  if (const Return code = compare(*inout->first, *inout->second, span); code != 0) return code;
  for (std::uint32_t i = 0; i < inout->count; ++i) {
    GpmMetric& metric = inout->metrics[i];
    metric.value = 0;
    metric.info[0] = metric.info[1] = metric.info[2] = nullptr;
    metric.code = read_metric(span, metric.id, metric.value) ? nvml::kSuccess : nvml::kNotSupported;
  }
  return nvml::kSuccess;
}
