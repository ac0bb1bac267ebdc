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
inline constexpr Code kLibraryNotFound = 12;
inline constexpr Code kFunctionNotFound = 13;
inline constexpr Code kGpuIsLost = 15;
inline constexpr Code kResetRequired = 16;
inline constexpr Code kVersionMismatch = 18;
inline constexpr Code kArgumentVersionMismatch = 25;

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

/// Enough for every text that NVML gives out (names and uuids 96, versions 80).
inline constexpr std::uint32_t kTextRoom = 96;

}  // namespace gpuward::gpu::abi
