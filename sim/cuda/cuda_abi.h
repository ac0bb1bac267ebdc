#pragma once

#include <cstddef>
#include <cstdint>

/// The part of the driver API's ABI that the simulated libcuda.so.1 offers. Values as the real
/// driver's clients know them; names are ours where the header of the real one need not be matched.
using CUresult = int;
using CUdevice = int;
using CUdeviceptr = std::uint64_t;

inline constexpr CUresult kSuccess = 0;
inline constexpr CUresult kInvalidValue = 1;
inline constexpr CUresult kOutOfMemory = 2;
inline constexpr CUresult kNotInitialized = 3;
inline constexpr CUresult kNoDevice = 100;
inline constexpr CUresult kInvalidDevice = 101;
inline constexpr CUresult kInvalidImage = 200;
inline constexpr CUresult kInvalidContext = 201;
inline constexpr CUresult kInvalidHandle = 400;
inline constexpr CUresult kIllegalState = 401;
inline constexpr CUresult kNotFound = 500;
inline constexpr CUresult kNotReady = 600;
inline constexpr CUresult kPrimaryContextActive = 708;
inline constexpr CUresult kContextIsDestroyed = 709;
inline constexpr CUresult kNotPermitted = 800;
inline constexpr CUresult kNotSupported = 801;
inline constexpr CUresult kSystemDriverMismatch = 803;
inline constexpr CUresult kUnknown = 999;

inline constexpr unsigned kSchedSpin = 1;
inline constexpr unsigned kSchedYield = 2;
inline constexpr unsigned kSchedBlocking = 4;
inline constexpr unsigned kSchedMask = 7;
inline constexpr unsigned kEventDisableTiming = 2;

struct CUuuid {
  unsigned char bytes[16];
};

/// cuCheckpointProcessLock's arguments; all argument structs of that family are 64 bytes.
struct CheckpointLockArgs {
  std::uint32_t timeout_ms;  ///< 0: wait for ever
  std::uint32_t reserved0;
  std::uint64_t reserved1[7];
};
static_assert(sizeof(CheckpointLockArgs) == 64);

/// A stable C name that programs find by dlsym or by linking.
#define GPUSIM_CUDA extern "C" __attribute__((visibility("default"))) CUresult
