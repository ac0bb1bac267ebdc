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

int inits = 0;
int sets_open = 0;
bool undefined = false;          // of the event set: registering failed with 999
abi::Device heard_of = nullptr;  // the card that was registered last

}  // namespace

extern "C" {

int fake_inits() {
  return inits;
}
int fake_sets_open() {
  return sets_open;
}
abi::Code nvmlInit_v2() {
  ++inits;
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
  *count =
      *set("FAKE_CARDS") != '\0' ? static_cast<std::uint32_t>(std::atoi(set("FAKE_CARDS"))) : 1;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetHandleByIndex_v2(std::uint32_t index, abi::Device* device) {
  *device = reinterpret_cast<abi::Device>(1 + 16ULL * index);
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

// Events: only where FAKE_EVENTS is set. Registering card FAKE_SPOILER leaves the set undefined;
// FAKE_WAIT is what a wait says, 0 an Xid of the card that was registered last.
abi::Code nvmlEventSetCreate(abi::EventSet* made) {
  *made = reinterpret_cast<abi::EventSet>(1);
  undefined = false;
  heard_of = nullptr;
  ++sets_open;
  return abi::kSuccess;
}
abi::Code nvmlEventSetFree(abi::EventSet) {
  --sets_open;
  return abi::kSuccess;
}
abi::Code nvmlDeviceGetSupportedEventTypes(abi::Device, std::uint64_t* types) {
  *types = 0;
  if (*set("FAKE_EVENTS") != '\0') *types = abi::kEventXid;
  return abi::kSuccess;
}
abi::Code nvmlDeviceRegisterEvents(abi::Device card, std::uint64_t, abi::EventSet) {
  const auto index = (reinterpret_cast<std::uintptr_t>(card) - 1) / 16;
  if (*set("FAKE_SPOILER") != '\0' && index == std::strtoul(set("FAKE_SPOILER"), nullptr, 10)) {
    undefined = true;
    return abi::kUnknown;
  }
  heard_of = card;
  return abi::kSuccess;
}
abi::Code nvmlEventSetWait_v2(abi::EventSet, abi::EventData* event, std::uint32_t) {
  if (undefined) return abi::kUnknown;
  if (const int code = std::atoi(set("FAKE_WAIT")); code != 0) return code;
  event->device = heard_of;
  event->type = abi::kEventXid;
  event->data = 79;
  return abi::kSuccess;
}

}  // extern "C"
