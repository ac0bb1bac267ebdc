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
inline constexpr std::uint64_t kEventXid = 0x8;

#define GPUSIM_NVML extern "C" __attribute__((visibility("default"))) gpuward::gpusim::nvml::Return

}  // namespace gpuward::gpusim::nvml
