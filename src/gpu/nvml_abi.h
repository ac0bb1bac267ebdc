#pragma once

#include <cstddef>
#include <cstdint>

// The part of NVML's binary interface that gpuward calls, on LP64 Linux. Written down by us from
// the published headers (12.2 and 13.3 agree on all of it): the driver's library is never linked,
// and its header is not needed to build.

namespace gpuward::gpu::abi {

/// What every call returns (nvmlReturn_t). Only the values that change what we do have a name.
using Code = std::int32_t;
inline constexpr Code kSuccess = 0;
inline constexpr Code kInvalidArgument = 2;
inline constexpr Code kNotSupported = 3;
inline constexpr Code kNoPermission = 4;
inline constexpr Code kNotFound = 6;
inline constexpr Code kInsufficientSize = 7;
inline constexpr Code kDriverNotLoaded = 9;
inline constexpr Code kTimeout = 10;
inline constexpr Code kLibraryNotFound = 12;
inline constexpr Code kFunctionNotFound = 13;
inline constexpr Code kGpuIsLost = 15;
inline constexpr Code kResetRequired = 16;
inline constexpr Code kOperatingSystem = 17;
inline constexpr Code kVersionMismatch = 18;
inline constexpr Code kNoData = 21;
inline constexpr Code kArgumentVersionMismatch = 25;
inline constexpr Code kNotReady = 27;
inline constexpr Code kUnknown = 999;

/// nvmlDevice_t: opaque, valid until shutdown.
using Device = struct OpaqueDevice*;

/// "Not available", for memory and for MIG instance numbers.
inline constexpr std::uint64_t kNoMemory = ~std::uint64_t{0};
inline constexpr std::uint32_t kNoInstance = ~std::uint32_t{0};

/// Tag of a versioned struct.
template <class T>
inline constexpr std::uint32_t version_tag(std::uint32_t version) {
  return static_cast<std::uint32_t>(sizeof(T)) | version << 24;
}

struct Utilization {
  std::uint32_t gpu;  ///< percent
  std::uint32_t memory;
};
static_assert(sizeof(Utilization) == 8);

/// used includes what the driver reserves.
struct Memory {
  std::uint64_t total, free, used;
};
static_assert(sizeof(Memory) == 24);

/// used excludes what the driver reserves.
struct MemoryV2 {
  std::uint32_t version;  ///< version_tag<MemoryV2>(2)
  std::uint64_t total, reserved, free, used;
};
static_assert(sizeof(MemoryV2) == 40 && offsetof(MemoryV2, total) == 8 &&
              offsetof(MemoryV2, used) == 32);
static_assert(version_tag<MemoryV2>(2) == 0x02000028);

/// The longest known row of a process list. Older rows are its first 24 or 16 bytes.
struct ProcessDetail {
  std::uint32_t pid;
  std::uint64_t memory;
  std::uint32_t gpu_instance;
  std::uint32_t compute_instance;
  std::uint64_t protected_memory;
};
static_assert(sizeof(ProcessDetail) == 32 && offsetof(ProcessDetail, memory) == 8);
static_assert(offsetof(ProcessDetail, gpu_instance) == 16 &&
              offsetof(ProcessDetail, compute_instance) == 20);
static_assert(offsetof(ProcessDetail, protected_memory) == 24);

enum ListMode : std::uint32_t { kCompute = 0, kGraphics = 1, kMps = 2, kAll = 3 };

struct ProcessDetailList {
  std::uint32_t version;  ///< version_tag<ProcessDetailList>(1)
  std::uint32_t mode;     ///< ListMode
  std::uint32_t entries;  ///< in: room; out: rows, or the need when the code is 7
  ProcessDetail* rows;
};
static_assert(sizeof(ProcessDetailList) == 24 && offsetof(ProcessDetailList, rows) == 16);
static_assert(version_tag<ProcessDetailList>(1) == 0x01000018);

struct ProcessUtilization {
  std::uint32_t pid;
  std::uint64_t time_us;                       ///< civil
  std::uint32_t sm, memory, encoder, decoder;  ///< percent
};
static_assert(sizeof(ProcessUtilization) == 32 && offsetof(ProcessUtilization, time_us) == 8);
static_assert(offsetof(ProcessUtilization, sm) == 16);

/// Adds two engines to ProcessUtilization, and puts its fields elsewhere.
struct ProcessUtilizationInfo {
  std::uint64_t time_us;  ///< civil
  std::uint32_t pid;
  std::uint32_t sm, memory, encoder, decoder, jpeg, optical_flow;  ///< percent
};
static_assert(sizeof(ProcessUtilizationInfo) == 40 && offsetof(ProcessUtilizationInfo, pid) == 8);
static_assert(offsetof(ProcessUtilizationInfo, sm) == 12 &&
              offsetof(ProcessUtilizationInfo, memory) == 16);

struct ProcessesUtilization {
  std::uint32_t version;       ///< version_tag<ProcessesUtilization>(1)
  std::uint32_t count;         ///< in: room; out: samples, or the need when the code is 7
  std::uint64_t last_seen_us;  ///< only newer ones
  ProcessUtilizationInfo* rows;
};
static_assert(sizeof(ProcessesUtilization) == 24 && offsetof(ProcessesUtilization, rows) == 16);
static_assert(version_tag<ProcessesUtilization>(1) == 0x01000018);

/// A value whose type stands beside it. Numbers below 8 bytes are in the low bytes.
union Value {
  double as_double;
  std::uint32_t as_u32;
  std::uint64_t as_u64;
  std::int32_t as_i32;
  std::uint16_t as_u16;
};
enum ValueType : std::int32_t {
  kDouble = 0,
  kU32 = 1,
  kUnsignedLong = 2,
  kU64 = 3,
  kS64 = 4,
  kI32 = 5,
  kU16 = 6,
};

struct Sample {
  std::uint64_t time_us;  ///< civil
  Value value;
};
static_assert(sizeof(Sample) == 16);
enum SamplingType : std::int32_t { kGpuSamples = 1, kMemorySamples = 2 };

struct FieldValue {
  std::uint32_t id;
  std::uint32_t scope;
  std::int64_t time_us, latency_us;
  std::int32_t type;  ///< ValueType
  Code code;          ///< each has its own
  Value value;
};
static_assert(sizeof(FieldValue) == 40 && offsetof(FieldValue, type) == 24 &&
              offsetof(FieldValue, code) == 28 && offsetof(FieldValue, value) == 32);

/// The fields that are read (nvmlDeviceGetFieldValues).
enum Field : std::uint32_t {
  kEccCorrected = 3,
  kEccUncorrected = 4,
  kEccCorrectedEver = 5,
  kEccUncorrectedEver = 6,
  kRetiredSingle = 29,
  kRetiredDouble = 30,
  kRetiredPending = 31,
  kHeldByPower = 74,
  kHeldByThermal = 75,
  kHeldBySyncBoost = 76,
  kHeldByBoard = 77,
  kHeldByLowUtilization = 78,
  kHeldByReliability = 79,
  kMemoryTemperature = 82,
  kRemappedCorrected = 142,
  kRemappedUncorrected = 143,
  kRemapPending = 144,
  kRemapFailed = 145,
  kPcieCorrected = 173,
  kPcieNonFatal = 179,
  kPcieFatal = 180,
  kPcieTxBytes = 197,
  kPcieRxBytes = 198,
  kRecoveryAction = 230,
  kHeldBySoftwareThermal = 269,
  kHeldByHardwareThermal = 270,
  kHeldByPowerBrake = 271,
};

struct PciInfo {
  char bus_id_legacy[16];
  std::uint32_t domain, bus, device, device_id, subsystem_id;
  char bus_id[32];  ///< "%08X:%02X:%02X.0"
};
static_assert(sizeof(PciInfo) == 68 && offsetof(PciInfo, bus_id) == 36);

struct AccountingStats {
  std::uint32_t gpu_percent, memory_percent;
  std::uint64_t peak_bytes, time_ms, start_us;  ///< time: 0 while it runs; start: civil
  std::uint32_t running, reserved[5];
};
static_assert(sizeof(AccountingStats) == 56 && offsetof(AccountingStats, running) == 32);

struct SramStatus {
  std::uint32_t version;  ///< version_tag<SramStatus>(1)
  std::uint64_t counts[11];
  std::uint32_t threshold_exceeded;
};
static_assert(sizeof(SramStatus) == 104 && offsetof(SramStatus, threshold_exceeded) == 96);
static_assert(version_tag<SramStatus>(1) == 0x01000068);

struct Attributes {
  std::uint32_t multiprocessors, copy_engines, decoders, encoders, jpegs, optical_flows;
  std::uint32_t gpu_slices, compute_slices;
  std::uint64_t memory_mib;
};
static_assert(sizeof(Attributes) == 40 && offsetof(Attributes, memory_mib) == 32);

struct GpmSupport {
  std::uint32_t version;  ///< 1
  std::uint32_t supported;
};
static_assert(sizeof(GpmSupport) == 8);

using GpmSample = struct OpaqueGpmSample*;
struct GpmMetric {
  std::uint32_t id;
  Code code;
  double value;
  const char* texts[3];
};
static_assert(sizeof(GpmMetric) == 40 && offsetof(GpmMetric, value) == 8);

/// Of the published headers' two lengths of `metrics` (98 and 333, one and the same version) the
/// library can only read the first `count`: a shorter one is as good.
struct GpmMetrics {
  static constexpr std::size_t kRoom = 32;
  std::uint32_t version;  ///< 1
  std::uint32_t count;
  GpmSample older, newer;
  GpmMetric metrics[kRoom];
};
static_assert(offsetof(GpmMetrics, older) == 8 && offsetof(GpmMetrics, metrics) == 24);

using EventSet = struct OpaqueEventSet*;
struct EventData {
  Device device;
  std::uint64_t type;  ///< one of the bits below
  std::uint64_t data;  ///< of an Xid its number
  std::uint32_t gpu_instance, compute_instance;
};
static_assert(sizeof(EventData) == 32);
enum EventType : std::uint64_t {
  kEventCorrected = 0x1,
  kEventUncorrected = 0x2,
  kEventXid = 0x8,
  kEventMig = 0x100,
  kEventStorm = 0x200,
  kEventRetirement = 0x400,
  kEventRetirementFailed = 0x800,
  kEventPoison = 0x1000,
  kEventPoisonFatal = 0x2000,
  kEventUnavailable = 0x4000,
  kEventRecovery = 0x8000,
};

using InitFn = Code();
using ErrorStringFn = const char*(Code);
using SystemTextFn = Code(char*, std::uint32_t length);
using CountFn = Code(std::uint32_t*);
using HandleFn = Code(std::uint32_t index, Device*);
using DeviceTextFn = Code(Device, char*, std::uint32_t length);
using MemoryFn = Code(Device, Memory*);
using MemoryV2Fn = Code(Device, MemoryV2*);
using UtilizationFn = Code(Device, Utilization*);
using DetailListFn = Code(Device, ProcessDetailList*);
using ProcessesFn = Code(Device, std::uint32_t* count, void* rows);
using ProcessUtilizationFn = Code(Device, ProcessUtilization*, std::uint32_t* count,
                                  std::uint64_t last_seen_us);
using ProcessesUtilizationFn = Code(Device, ProcessesUtilization*);
using SamplesFn = Code(Device, SamplingType, std::uint64_t last_seen_us, std::int32_t* type,
                       std::uint32_t* count, Sample*);
using FieldsFn = Code(Device, std::int32_t count, FieldValue*);
using U32Fn = Code(Device, std::uint32_t*);
using U64Fn = Code(Device, std::uint64_t*);
using IntFn = Code(Device, std::int32_t*);
using TwoIntsFn = Code(Device, std::int32_t*, std::int32_t*);
using TwoU32Fn = Code(Device, std::uint32_t*, std::uint32_t*);
using SelectedU32Fn = Code(Device, std::int32_t which, std::uint32_t*);
using EccTotalFn = Code(Device, std::int32_t uncorrected, std::int32_t ever, std::uint64_t*);
using RemappedRowsFn = Code(Device, std::uint32_t* corrected, std::uint32_t* uncorrected,
                            std::uint32_t* pending, std::uint32_t* failed);
using SramFn = Code(Device, SramStatus*);
using PciInfoFn = Code(Device, PciInfo*);
using AncestorFn = Code(Device, Device, std::int32_t*);
using AccountingStatsFn = Code(Device, std::uint32_t pid, AccountingStats*);
using MigHandleFn = Code(Device, std::uint32_t index, Device*);
using AttributesFn = Code(Device, Attributes*);
using GpmSupportFn = Code(Device, GpmSupport*);
using GpmAllocFn = Code(GpmSample*);
using GpmSampleFn = Code(Device, GpmSample);
using GpmMetricsFn = Code(GpmMetrics*);
using EventSetCreateFn = Code(EventSet*);
using EventSetFreeFn = Code(EventSet);
using RegisterEventsFn = Code(Device, std::uint64_t types, EventSet);
using EventWaitFn = Code(EventSet, EventData*, std::uint32_t timeout_ms);

/// Enough for every text that NVML gives out (names and uuids 96, versions 80).
inline constexpr std::uint32_t kTextRoom = 96;

}  // namespace gpuward::gpu::abi
