#include <time.h>

#include <algorithm>
#include <optional>

#include "nvml/readings.h"

/// What tells a sick card from a well one: memory errors, the link, what holds the clocks down.
using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlDeviceGetEccMode(Handle* device, int* current, int* pending) {
  GPUSIM_NVML_DEVICE(device);
  if (const Return code = put(current, 1); code != 0) return code;
  return put(pending, 1);
}

GPUSIM_NVML nvmlDeviceGetTotalEccErrors(Handle* device, int type, int counter, std::uint64_t* out) {
  GPUSIM_NVML_DEVICE(device);
  if (type < 0 || type > 1 || counter < 0 || counter > 1) return kInvalidArgument;
  const HealthEntry& health = health_entry(index);
  return put(out, type == 0 ? health.ecc_corrected.load() : health.ecc_uncorrected.load());
}

GPUSIM_NVML nvmlDeviceGetMemoryErrorCounter(Handle* device, int type, int counter, int location,
                                            std::uint64_t* out) {
  if (location == 2) return nvmlDeviceGetTotalEccErrors(device, type, counter, out);
  GPUSIM_NVML_DEVICE(device);
  return put(out, 0);  // all errors are in the card's memory
}

GPUSIM_NVML nvmlDeviceGetSramEccErrorStatus(Handle* device, SramEcc* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kSramEccTag) return kArgumentVersionMismatch;
  *out = {kSramEccTag, {}, 0};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetRemappedRows(Handle* device, unsigned* corrected, unsigned* uncorrected,
                                      unsigned* pending, unsigned* failed) {
  GPUSIM_NVML_DEVICE(device);
  const HealthEntry& health = health_entry(index);
  if (const Return code = put(corrected, health.rows_corrected.load()); code != 0) return code;
  if (const Return code = put(uncorrected, health.rows_uncorrected.load()); code != 0) return code;
  if (const Return code = put(pending, health.rows_pending.load()); code != 0) return code;
  return put(failed, health.rows_failed.load());
}

GPUSIM_NVML nvmlDeviceGetRowRemapperHistogram(Handle* device, RowHistogram* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  const HealthEntry& health = health_entry(index);
  constexpr unsigned kBanks = 640;
  const unsigned used =
      std::min(kBanks, health.rows_corrected.load() + health.rows_uncorrected.load());
  *out = {kBanks - used, used, 0, 0, 0};  // a bank that has lost one row still has many
  if (health.rows_failed.load() != 0) *out = {kBanks - 1, 0, 0, 0, 1};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetRetiredPagesPendingStatus(Handle* device, int* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, health_entry(index).pages_pending.load());
}

GPUSIM_NVML nvmlDeviceGetRepairStatus(Handle* device, RepairStatus* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kRepairTag) return kArgumentVersionMismatch;
  *out = {kRepairTag, 0, 0};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceValidateInforom(Handle* device) {
  GPUSIM_NVML_DEVICE(device);
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetCurrentClocksEventReasons(Handle* device, std::uint64_t* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, clock_reasons(index));
}
GPUSIM_NVML nvmlDeviceGetCurrentClocksThrottleReasons(Handle* device, std::uint64_t* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, clock_reasons(index));
}

namespace {

/// How long a policy of nvmlDeviceGetViolationStatus, or of the fields from 74 on, was in force.
std::uint64_t policy_ns(unsigned index, int policy) {
  switch (policy) {
    case 0:  // power
      return held_down_ns(index, kPowerCap);
    case 1:  // thermal
      return held_down_ns(index, kSoftwareThermal) + held_down_ns(index, kHardwareThermal);
    case 2:  // sync boost
      return held_down_ns(index, kSyncBoost);
    case 3:  // board
      return held_down_ns(index, kHardwareSlowdown);
    default:
      return 0;
  }
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetViolationStatus(Handle* device, int policy, ViolationTime* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr || policy < 0) return kInvalidArgument;
  if (policy > 5 && policy != 10 && policy != 11) return kInvalidArgument;
  *out = {civil_us(monotonic_ns()), policy_ns(index, policy)};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetPcieThroughput(Handle* device, int counter, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  if (counter < 0 || counter > 1) return kInvalidArgument;
  // As the real one, it counts for 20 ms and keeps its caller waiting meanwhile.
  constexpr std::uint64_t kMilliseconds = 20;
  const timespec window = {0, kMilliseconds * 1'000'000};
  const Copied before = copied(index);
  ::nanosleep(&window, nullptr);
  const Copied after = copied(index);
  const std::uint64_t bytes =
      counter == 0 ? after.from_card - before.from_card : after.to_card - before.to_card;
  return put(out, bytes / kMilliseconds);  // KB/s
}
GPUSIM_NVML nvmlDeviceGetCurrPcieLinkGeneration(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, health_entry(index).pcie_generation.load());
}
GPUSIM_NVML nvmlDeviceGetMaxPcieLinkGeneration(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 5);
}
GPUSIM_NVML nvmlDeviceGetCurrPcieLinkWidth(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, health_entry(index).pcie_width.load());
}
GPUSIM_NVML nvmlDeviceGetMaxPcieLinkWidth(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, 16);
}

namespace {

struct Field {
  std::int32_t type;  ///< NVML's value type: 1 u32, 3 u64, 5 i32
  std::uint64_t value;
};
constexpr std::int32_t kU32 = 1;
constexpr std::int32_t kU64 = 3;

std::optional<Field> memory_field(const HealthEntry& health, std::uint32_t id) {
  switch (id) {
    case 3:
    case 5:  // corrected: volatile, aggregate
      return Field{kU64, health.ecc_corrected.load()};
    case 4:
    case 6:  // uncorrected
      return Field{kU64, health.ecc_uncorrected.load()};
    case 29:
      return Field{kU64, health.pages_single.load()};
    case 30:
      return Field{kU64, health.pages_double.load()};
    case 31:
      return Field{kU64, health.pages_pending.load()};
    case 142:
      return Field{kU32, health.rows_corrected.load()};
    case 143:
      return Field{kU32, health.rows_uncorrected.load()};
    case 144:
      return Field{kU32, health.rows_pending.load()};
    case 145:
      return Field{kU32, health.rows_failed.load()};
    default:
      return std::nullopt;
  }
}

std::optional<Field> link_field(unsigned index, std::uint32_t id) {
  const HealthEntry& health = health_entry(index);
  switch (id) {
    case 173:
      return Field{kU32, health.pcie_correctable.load()};
    case 179:
      return Field{kU32, health.pcie_non_fatal.load()};
    case 180:
      return Field{kU32, health.pcie_fatal.load()};
    case 197:  // sent by the card
      return Field{kU64, copied(index).from_card};
    case 198:
      return Field{kU64, copied(index).to_card};
    default:
      if (id > 173 && id <= 183) return Field{kU32, 0};
      return std::nullopt;
  }
}

std::optional<Field> sensor_field(unsigned index, std::uint32_t id) {
  switch (id) {
    case 74:
    case 75:
    case 76:
    case 77:
    case 78:
    case 79:
      return Field{kU64, policy_ns(index, static_cast<int>(id) - 74)};
    case 82:
      return Field{kU32, static_cast<std::uint64_t>(memory_temperature(index))};
    case 83:
    case 191:
      return Field{kU64, energy_mj(index)};
    case 185:
    case 186:
      return Field{kU32, power_mw(index)};
    case 230:  // a card that is lost or needs a reset does not get here
      return Field{kU32, static_cast<std::uint64_t>(health_entry(index).recovery_action.load())};
    case 269:
      return Field{kU64, held_down_ns(index, kSoftwareThermal)};
    case 270:
      return Field{kU64, held_down_ns(index, kHardwareThermal)};
    case 271:
      return Field{kU64, held_down_ns(index, kPowerBrake)};
    default:
      return std::nullopt;
  }
}

Return read_field(unsigned index, FieldValue& out) {
  auto field = memory_field(health_entry(index), out.id);
  if (!field) field = link_field(index, out.id);
  if (!field) field = sensor_field(index, out.id);
  if (!field) return kNotSupported;
  out.type = field->type;
  out.value.as_u64 = field->value;  // little-endian: a u32 stands in its first half
  return nvml::kSuccess;
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetFieldValues(Handle* device, int count, FieldValue* fields) {
  GPUSIM_NVML_INSTANCE(device);
  if (fields == nullptr || count < 0) return kInvalidArgument;
  const auto now = static_cast<std::int64_t>(civil_us(monotonic_ns()));
  for (int i = 0; i < count; ++i) {
    fields[i].timestamp = now;
    fields[i].latency_us = 0;
    fields[i].code = instance == kNoInstance ? read_field(index, fields[i]) : nvml::kNotSupported;
  }
  return nvml::kSuccess;
}
