#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "cuda/driver.h"
#include "model/state_file.h"

namespace gpuward::gpusim {
CUresult initialize();

namespace {

const DeviceEntry* entry_of(CUdevice ordinal) {
  const auto& visible = driver().visible;
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= visible.size()) return nullptr;
  return &process_session().state().devices[visible[static_cast<std::size_t>(ordinal)]];
}

unsigned index_of(const DeviceEntry* entry) {
  return static_cast<unsigned>(entry - process_session().state().devices);
}

struct NamedCode {
  CUresult code;
  const char* name;
  const char* text;
};
constexpr NamedCode kCodes[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {4, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {46, "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {708, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "primary context already active"},
    {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const NamedCode* find_code(CUresult code) {
  for (const NamedCode& known : kCodes) {
    if (known.code == code) return &known;
  }
  return nullptr;
}

// CUdevice_attribute numbers and what a simulated card answers: enough to choose a card by. Those
// not named here are 0.
struct Attribute {
  int number;
  int value;
};
constexpr Attribute kAttributes[] = {
    {1, 1024},        // threads per block
    {2, 1024},        // block dimensions
    {3, 1024},        //
    {4, 64},          //
    {5, 2147483647},  // grid dimensions
    {6, 65535},       //
    {7, 65535},       //
    {8, 49152},       // shared memory per block
    {9, 65536},       // constant memory
    {10, 32},         // warp
    {13, 1980000},    // clock, kHz
    {16, 132},        // multiprocessors
    {19, 1},          // can map host memory
    {31, 1},          // concurrent kernels
    {32, 1},          // ECC
    {36, 2619000},    // memory clock, kHz
    {37, 5120},       // memory bus, bits
    {39, 2048},       // threads per multiprocessor
    {40, 3},          // copy engines
    {41, 1},          // unified addressing
};
constexpr int kPciBus = 33;
constexpr int kCapabilityMajor = 75;

int capability_of(const DeviceEntry& device) {
  return device.architecture == kAmpere ? 8 : 9;
}

std::uint64_t room_of(const DeviceEntry& device) {
  return process_session().look(index_of(&device),
                                [](const DeviceValue& value) { return room_bytes(value); });
}

int attribute_value(int attribute, const DeviceEntry& device) {
  if (attribute == kPciBus) return static_cast<int>(device.pci_bus);
  if (attribute == kCapabilityMajor) return capability_of(device);
  for (const Attribute& known : kAttributes) {
    if (known.number == attribute) return known.value;
  }
  return 0;
}

}  // namespace
}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

GPUSIM_CUDA cuInit(unsigned flags) {
  return flags != 0 ? kInvalidValue : initialize();
}

GPUSIM_CUDA cuDriverGetVersion(int* out) {
  if (out == nullptr) return kInvalidValue;
  *out = 12080;
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGetCount(int* out) {
  GPUSIM_ENTER();
  if (out == nullptr) return kInvalidValue;
  *out = static_cast<int>(driver().visible.size());
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGet(CUdevice* out, int ordinal) {
  GPUSIM_ENTER();
  if (out == nullptr) return kInvalidValue;
  if (entry_of(ordinal) == nullptr) return kInvalidDevice;
  *out = ordinal;
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGetName(char* out, int length, CUdevice ordinal) {
  GPUSIM_ENTER();
  const DeviceEntry* device = entry_of(ordinal);
  if (device == nullptr) return kInvalidDevice;
  if (out == nullptr || length <= 0) return kInvalidValue;
  const std::string name =
      device->instances == 0 ? std::string(device->name) : mig_name(*device, room_of(*device));
  std::snprintf(out, static_cast<std::size_t>(length), "%s", name.c_str());
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGetUuid(CUuuid* out, CUdevice ordinal) {
  GPUSIM_ENTER();
  const DeviceEntry* device = entry_of(ordinal);
  if (device == nullptr) return kInvalidDevice;
  if (out == nullptr) return kInvalidValue;
  if (device->instances == 0) {
    std::memcpy(out->bytes, device->uuid_bytes, sizeof out->bytes);
  } else {
    mig_uuid_bytes(*device, driver().instance, out->bytes);
  }
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGetUuid_v2(CUuuid* out, CUdevice ordinal) {
  return cuDeviceGetUuid(out, ordinal);
}

GPUSIM_CUDA cuDeviceTotalMem_v2(std::size_t* out, CUdevice ordinal) {
  GPUSIM_ENTER();
  const DeviceEntry* device = entry_of(ordinal);
  if (device == nullptr) return kInvalidDevice;
  if (out == nullptr) return kInvalidValue;
  *out = room_of(*device);
  return kSuccess;
}

/// The form from before 64-bit sizes: tells no more than fits.
GPUSIM_CUDA cuDeviceTotalMem(unsigned* out, CUdevice ordinal) {
  std::size_t bytes = 0;
  if (out == nullptr) return kInvalidValue;
  if (const CUresult code = cuDeviceTotalMem_v2(&bytes, ordinal); code != 0) return code;
  *out = static_cast<unsigned>(std::min<std::size_t>(bytes, 0xffffffff));
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGetAttribute(int* out, int attribute, CUdevice ordinal) {
  GPUSIM_ENTER();
  const DeviceEntry* device = entry_of(ordinal);
  if (device == nullptr) return kInvalidDevice;
  if (out == nullptr || attribute <= 0) return kInvalidValue;
  *out = attribute_value(attribute, *device);
  return kSuccess;
}

GPUSIM_CUDA cuDeviceComputeCapability(int* major, int* minor, CUdevice ordinal) {
  GPUSIM_ENTER();
  if (entry_of(ordinal) == nullptr) return kInvalidDevice;
  if (major == nullptr || minor == nullptr) return kInvalidValue;
  *major = capability_of(*entry_of(ordinal));
  *minor = 0;
  return kSuccess;
}

GPUSIM_CUDA cuDeviceGetPCIBusId(char* out, int length, CUdevice ordinal) {
  GPUSIM_ENTER();
  const DeviceEntry* device = entry_of(ordinal);
  if (device == nullptr) return kInvalidDevice;
  if (out == nullptr || length <= 0) return kInvalidValue;
  std::snprintf(out, static_cast<std::size_t>(length), "0000:%02X:00.0", device->pci_bus);
  return kSuccess;
}

GPUSIM_CUDA cuGetErrorName(CUresult code, const char** out) {
  if (out == nullptr) return kInvalidValue;
  const NamedCode* known = find_code(code);
  *out = known == nullptr ? nullptr : known->name;
  return known == nullptr ? kInvalidValue : kSuccess;
}

GPUSIM_CUDA cuGetErrorString(CUresult code, const char** out) {
  if (out == nullptr) return kInvalidValue;
  const NamedCode* known = find_code(code);
  *out = known == nullptr ? nullptr : known->text;
  return known == nullptr ? kInvalidValue : kSuccess;
}
