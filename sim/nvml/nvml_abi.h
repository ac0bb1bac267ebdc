#pragma once

#include <cstddef>
#include <cstdint>

/// The part of NVML's ABI that the simulated libnvidia-ml.so.1 answers with values. Names are ours;
/// layouts and numbers are the real library's (LP64).
namespace gpuward::gpusim::nvml {

using Return = int;
inline constexpr Return kSuccess = 0;
inline constexpr Return kUninitialized = 1;
inline constexpr Return kInvalidArgument = 2;
inline constexpr Return kNotSupported = 3;
inline constexpr Return kNoPermission = 4;
inline constexpr Return kNotFound = 6;
inline constexpr Return kInsufficientSize = 7;
inline constexpr Return kDriverNotLoaded = 9;
inline constexpr Return kTimeout = 10;
inline constexpr Return kFunctionNotFound = 13;
inline constexpr Return kGpuIsLost = 15;
inline constexpr Return kGpuResetRequired = 16;
inline constexpr Return kVersionMismatch = 18;
inline constexpr Return kArgumentVersionMismatch = 25;
inline constexpr Return kUnknown = 999;

struct PciInfo {
  char bus_id_legacy[16];
  std::uint32_t domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68);

struct Utilization {
  std::uint32_t gpu, memory;
};
struct Memory {
  std::uint64_t total, free, used;
};
struct MemoryV2 {
  std::uint32_t version;
  std::uint64_t total, reserved, free, used;
};
static_assert(sizeof(MemoryV2) == 40);
inline constexpr std::uint32_t kMemoryV2Tag = 0x02000028;

struct ProcessDetail {
  std::uint32_t pid;
  std::uint64_t memory;
  std::uint32_t gpu_instance, compute_instance;
  std::uint64_t protected_memory;
};
static_assert(sizeof(ProcessDetail) == 32);
struct ProcessDetailList {
  std::uint32_t version, mode, entries;
  ProcessDetail* rows;
};
static_assert(sizeof(ProcessDetailList) == 24);
inline constexpr std::uint32_t kListTag = 0x01000018;

struct ProcessUtilization {
  std::uint32_t pid;
  std::uint64_t timestamp;
  std::uint32_t sm, memory, encoder, decoder;
};
static_assert(sizeof(ProcessUtilization) == 32);
struct ProcessUtilizationInfo {
  std::uint64_t timestamp;
  std::uint32_t pid, sm, memory, encoder, decoder, jpeg, ofa;
};
static_assert(sizeof(ProcessUtilizationInfo) == 40);
struct ProcessesUtilization {
  std::uint32_t version, count;
  std::uint64_t last_seen;
  ProcessUtilizationInfo* rows;
};
static_assert(sizeof(ProcessesUtilization) == 24);

struct AccountingStats {
  std::uint32_t gpu_percent, memory_percent;
  std::uint64_t peak_bytes, time_ms, start_us;
  std::uint32_t running, reserved[5];
};
static_assert(sizeof(AccountingStats) == 56);

struct AccountingStatsV2 {
  std::uint32_t pid, running, gpu_percent, memory_percent;
  std::uint64_t peak_bytes;
  std::uint32_t samples;
  std::uint64_t sum_gpu_percent, sum_memory_percent, time_ms, start_us;
};
static_assert(sizeof(AccountingStatsV2) == 64 && offsetof(AccountingStatsV2, start_us) == 56);

struct Attributes {
  std::uint32_t multiprocessors, copy_engines, decoders, encoders, jpegs, ofas, gpu_slices,
      compute_slices;
  std::uint64_t memory_mib;
};
static_assert(sizeof(Attributes) == 40);

struct ViolationTime {
  std::uint64_t reference_us, violation_ns;
};
struct MarginTemperature {
  std::uint32_t version;
  std::int32_t degrees;
};
inline constexpr std::uint32_t kMarginTag = 0x01000008;
struct SramEcc {
  std::uint32_t version;
  std::uint64_t
      counts[11];  ///< aggregate unc. parity and SEC-DED, corrected; the same volatile; ...
  std::uint32_t threshold_exceeded;
};
static_assert(sizeof(SramEcc) == 104);
inline constexpr std::uint32_t kSramEccTag = 0x01000068;
struct RowHistogram {
  std::uint32_t max, high, partial, low, none;
};
struct RepairStatus {
  std::uint32_t version, channel_pending, tpc_pending;
};
static_assert(sizeof(RepairStatus) == 12);
inline constexpr std::uint32_t kRepairTag = 0x0100000c;

struct GpmMetric {
  std::uint32_t id;
  std::int32_t code;
  double value;
  const char* info[3];
};
static_assert(sizeof(GpmMetric) == 40);
/// Followed by as many metrics as it says: how many a caller has room for differs by header.
struct GpmMetrics {
  std::uint32_t version, count;
  struct GpmSample* first;
  struct GpmSample* second;
  GpmMetric metrics[1];
};
static_assert(offsetof(GpmMetrics, metrics) == 24);
struct GpmSupport {
  std::uint32_t version, supported;
};
static_assert(sizeof(GpmSupport) == 8);
inline constexpr std::uint32_t kGpmVersion = 1;

union Value {
  double as_double;
  std::uint32_t as_uint;
  std::uint64_t as_u64;
  std::int64_t as_s64;
};
struct Sample {
  std::uint64_t timestamp;
  Value value;
};
static_assert(sizeof(Sample) == 16);
struct FieldValue {
  std::uint32_t id, scope;
  std::int64_t timestamp, latency_us;
  std::int32_t type, code;
  Value value;
};
static_assert(sizeof(FieldValue) == 40);

struct Temperature {
  std::uint32_t version;
  std::int32_t sensor, degrees;
};
static_assert(sizeof(Temperature) == 12);
inline constexpr std::uint32_t kTemperatureTag = 0x0100000c;

struct Handle;
struct EventDataV1 {
  Handle* device;
  std::uint64_t type, data;
};
struct EventData {
  Handle* device;
  std::uint64_t type, data;
  std::uint32_t gpu_instance, compute_instance;
};
static_assert(sizeof(EventData) == 32);
inline constexpr std::uint64_t kEventEccCorrected = 0x1;
inline constexpr std::uint64_t kEventEccUncorrected = 0x2;
inline constexpr std::uint64_t kEventXid = 0x8;
inline constexpr std::uint64_t kEventClock = 0x10;
inline constexpr std::uint64_t kEventUnavailable = 0x4000;
inline constexpr std::uint64_t kEventRecovery = 0x8000;

#define GPUSIM_NVML extern "C" __attribute__((visibility("default"))) gpuward::gpusim::nvml::Return

}  // namespace gpuward::gpusim::nvml
