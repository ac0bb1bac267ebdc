// A small driver's library for what the simulated one does not tell: GPM, MIG, accounting, field
// values, row errors of single values. One card, fixed answers; a test turns some of them by
// environment variables before it loads the library.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gpu/nvml_abi.h"

namespace abi = gpuward::gpu::abi;

namespace {

const char* set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

void put(char* text, std::string_view value) {
  *std::ranges::copy(value.substr(0, abi::kTextRoom - 1), text).out = '\0';
}

int samples_taken = 0;

}  // namespace

extern "C" {

abi::Code nvmlInit_v2() {
  return std::atoi(set("FAKE_INIT"));
}
const char* nvmlErrorString(abi::Code) {
  return "said by the fake";
}
abi::Code nvmlSystemGetDriverVersion(char* text, std::uint32_t) {
  put(text, "1.2.3");
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetCount_v2(std::uint32_t* count) {
  *count = 1;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetHandleByIndex_v2(std::uint32_t, abi::Device* device) {
  *device = reinterpret_cast<abi::Device>(1);
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetUUID(abi::Device device, char* text, std::uint32_t) {
  put(text, device == reinterpret_cast<abi::Device>(1) ? "GPU-1" : "MIG-2");
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetMemoryInfo_v2(abi::Device device, abi::MemoryV2* memory) {
  if (const int code = std::atoi(set("FAKE_MEMORY")); code != 0) return code;
  const bool part = device != reinterpret_cast<abi::Device>(1);
  memory->total = (part ? 10ULL : 80ULL) << 30;
  memory->reserved = 1ULL << 30;
  memory->used = 5ULL << 30;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetUtilizationRates(abi::Device, abi::Utilization*) {
  return abi::kNotSupported;
}

// Rows: one compute process with the test's own pid, on a MIG instance.
abi::Code nvmlDeviceGetRunningProcessDetailList(abi::Device, abi::ProcessDetailList* list) {
  const auto pid = static_cast<std::uint32_t>(std::atoi(set("FAKE_PID")));
  if (pid == 0 || list->mode == abi::kGraphics || list->mode == abi::kMps) {
    list->entries = 0;
    return abi::kSuccess;
  }
  list->entries = 1;
  list->rows[0] = {pid, abi::kNoMemory, 3, 4, 0};
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetProcessesUtilizationInfo(abi::Device, abi::ProcessesUtilization* list) {
  list->count = 2;
  const auto pid = static_cast<std::uint32_t>(std::atoi(set("FAKE_PID")));
  list->rows[0] = {2, pid, 10, 20, 0, 0, 0, 0};
  list->rows[1] = {9, pid, 30, 40, 0, 0, 0, 0};  // the newer one counts
  return abi::kSuccess;
}

abi::Code nvmlDeviceGetFieldValues(abi::Device, std::int32_t count, abi::FieldValue* fields) {
  for (std::int32_t n = 0; n < count; ++n) {
    abi::FieldValue& field = fields[n];
    field.code = abi::kSuccess;
    field.type = abi::kU64;
    field.value.as_u64 = 1000 + field.id;
    if (field.id == abi::kRecoveryAction) field.value.as_u64 = 2;
    if (field.id == abi::kMemoryTemperature) field.type = abi::kI32, field.value.as_i32 = -4;
    if (field.id == abi::kPcieFatal) field.code = abi::kNoPermission;
    if (field.id == abi::kHeldByPowerBrake) field.code = abi::kInvalidArgument;  // unknown here
  }
  return abi::kSuccess;
}

abi::Code nvmlDeviceGetAccountingMode(abi::Device, std::int32_t* on) {
  *on = 1;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetAccountingStats(abi::Device, std::uint32_t, abi::AccountingStats* stats) {
  *stats = {41, 12, 7ULL << 30, 90'000, 1'700'000'000'000'000, 0, {}};
  return abi::kSuccess;
}

abi::Code nvmlDeviceGetMigMode(abi::Device, std::uint32_t* now, std::uint32_t* next) {
  *now = *next = 1;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetMaxMigDeviceCount(abi::Device, std::uint32_t* most) {
  *most = 7;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetMigDeviceHandleByIndex(abi::Device, std::uint32_t index, abi::Device* part) {
  if (index != 2) return abi::kNotFound;  // the slots before it are empty
  *part = reinterpret_cast<abi::Device>(2);
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetGpuInstanceId(abi::Device, std::uint32_t* id) {
  *id = 3;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetComputeInstanceId(abi::Device, std::uint32_t* id) {
  *id = 4;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetAttributes_v2(abi::Device, abi::Attributes* attributes) {
  attributes->multiprocessors = 16;
  return abi::kSuccess;
}

abi::Code nvmlGpmQueryDeviceSupport(abi::Device, abi::GpmSupport* support) {
  if (support->version != 1) return abi::kArgumentVersionMismatch;
  support->supported = 1;
  return abi::kSuccess;
}
abi::Code nvmlGpmSampleAlloc(abi::GpmSample* sample) {
  static char samples[64];
  static std::size_t next = 0;
  if (next == sizeof samples) return abi::kUnknown;
  *sample = reinterpret_cast<abi::GpmSample>(&samples[next++]);
  return abi::kSuccess;
}
abi::Code nvmlGpmSampleGet(abi::Device, abi::GpmSample) {
  ++samples_taken;
  return abi::kSuccess;
}
abi::Code nvmlGpmMetricsGet(abi::GpmMetrics* metrics) {
  if (samples_taken < 2 || metrics->older == metrics->newer) return abi::kInvalidArgument;
  for (std::uint32_t n = 0; n < metrics->count; ++n) {
    metrics->metrics[n].code = metrics->metrics[n].id == 5 ? abi::kNotSupported : abi::kSuccess;
    metrics->metrics[n].value = metrics->metrics[n].id + 0.5;
  }
  return abi::kSuccess;
}

}  // extern "C"
