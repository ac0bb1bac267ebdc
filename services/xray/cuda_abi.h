#pragma once

#include <cstddef>
#include <cstdint>

// The few names of the CUDA driver API that this service calls, by their binary interface, which
// NVIDIA keeps for all drivers: no CUDA header or library is needed to build. Suffixes as exported.
namespace gpuward::xray::cuda {

using Status = int;  // CUresult
inline constexpr Status kSuccess = 0;
inline constexpr Status kOutOfMemory = 2;
inline constexpr Status kContextIsDestroyed = 709;

using Device = int;                   // CUdevice: an index
using DevicePointer = std::uint64_t;  // CUdeviceptr
struct ContextTag;
struct ModuleTag;
struct FunctionTag;
struct StreamTag;
using Context = ContextTag*;
using Module = ModuleTag*;
using Function = FunctionTag*;
using Stream = StreamTag*;

// CU_CTX_SCHED_*: how the CPU waits for the card
enum class Wait : unsigned { automatic = 0, spin = 1, yield = 2, blocking = 4 };

inline constexpr unsigned kStreamNonBlocking = 1;  // CU_STREAM_NON_BLOCKING

/// One pointer a function, filled by load(); the names are the exported ones without "cu".
struct Api {
  Status (*init)(unsigned flags);
  Status (*device_get_count)(int* count);
  Status (*device_get)(Device* device, int ordinal);
  Status (*device_get_name)(char* name, int size, Device device);
  Status (*primary_context_set_flags)(Device device, unsigned flags);
  Status (*primary_context_retain)(Context* context, Device device);
  Status (*primary_context_release)(Device device);
  Status (*context_set_current)(Context context);
  Status (*memory_allocate)(DevicePointer* memory, std::size_t bytes);
  Status (*memory_free)(DevicePointer memory);
  Status (*memory_get_info)(std::size_t* free, std::size_t* total);
  Status (*module_load_data)(Module* module, const void* image);
  Status (*module_get_function)(Function* function, Module module, const char* name);
  Status (*launch_kernel)(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                          unsigned block_x, unsigned block_y, unsigned block_z,
                          unsigned shared_bytes, Stream stream, void** parameters, void** extra);
  Status (*stream_create)(Stream* stream, unsigned flags);
  Status (*stream_destroy)(Stream stream);
  Status (*stream_synchronize)(Stream stream);
  Status (*get_error_name)(Status status, const char** name);
};

}  // namespace gpuward::xray::cuda
