#include "nvml/library.h"

/// MIG: instances are equal parts of a card, made with it and never changed.
using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlDeviceGetMigMode(Handle* device, unsigned* current, unsigned* pending) {
  GPUSIM_NVML_DEVICE(device);
  const unsigned on = device_entry(index).instances > 0 ? 1 : 0;
  if (const Return code = put(current, on); code != 0) return code;
  return put(pending, on);
}

GPUSIM_NVML nvmlDeviceGetMaxMigDeviceCount(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  return put(out, device_entry(index).instances > 0 ? kMaxInstances : 0);
}

GPUSIM_NVML nvmlDeviceGetMigDeviceHandleByIndex(Handle* device, unsigned number, Handle** out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  const unsigned instances = device_entry(index).instances;
  if (instances == 0) return nvml::kNotSupported;
  if (number >= kMaxInstances) return kInvalidArgument;
  if (number >= instances) return nvml::kNotFound;
  return put(out, handle_of(index, number));
}

GPUSIM_NVML nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Handle* device, Handle** out) {
  GPUSIM_NVML_INSTANCE(device);
  return instance == kNoInstance ? kInvalidArgument : put(out, handle_of(index));
}

GPUSIM_NVML nvmlDeviceIsMigDeviceHandle(Handle* device, unsigned* out) {
  GPUSIM_NVML_INSTANCE(device);
  return put(out, instance == kNoInstance ? 0 : 1);
}

GPUSIM_NVML nvmlDeviceGetGpuInstanceId(Handle* device, unsigned* out) {
  GPUSIM_NVML_INSTANCE(device);
  return instance == kNoInstance ? nvml::kNotSupported : put(out, gpu_instance_id(instance));
}

GPUSIM_NVML nvmlDeviceGetComputeInstanceId(Handle* device, unsigned* out) {
  GPUSIM_NVML_INSTANCE(device);
  return instance == kNoInstance ? nvml::kNotSupported : put(out, 0);
}

GPUSIM_NVML nvmlDeviceGetAttributes_v2(Handle* device, Attributes* out) {
  GPUSIM_NVML_INSTANCE(device);
  if (out == nullptr) return kInvalidArgument;
  if (instance == kNoInstance) return nvml::kNotSupported;
  const std::uint64_t room =
      session().look(index, [](const DeviceValue& value) { return room_bytes(value); });
  const unsigned slices = kMaxInstances / device_entry(index).instances;
  *out = {16 * slices, 1, 1, 0, 1, 0, slices, slices, room >> 20};
  return nvml::kSuccess;
}
GPUSIM_NVML nvmlDeviceGetAttributes(Handle* device, Attributes* out) {
  return nvmlDeviceGetAttributes_v2(device, out);
}
