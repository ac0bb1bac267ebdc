#include "nvml/library.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "model/faults.h"

namespace gpuward::gpusim::nvml {
namespace {

std::atomic<int> initialized{0};
/// Per card its own handle, then those of its MIG instances.
constexpr unsigned kHandlesPerDevice = 1 + kMaxInstances;
using Handles = std::array<Handle, kMaxDevices * std::size_t{kHandlesPerDevice}>;
Handles handles = [] {
  Handles made = {};
  for (unsigned i = 0; i < made.size(); ++i) {
    const unsigned place = i % kHandlesPerDevice;
    made[i] = {i / kHandlesPerDevice, place == 0 ? kNoInstance : place - 1};
  }
  return made;
}();

Return code_for(Open status) {
  switch (status) {
    case Open::kOk:
      return kSuccess;
    case Open::kForbidden:
      return kNoPermission;
    case Open::kAbsent:
    case Open::kGone:
    case Open::kOtherBoot:
      return kDriverNotLoaded;
    default:
      return kUnknown;
  }
}

Return initialize() {
  if (const Open status = session().open(); status != Open::kOk) return code_for(status);
  wait_while_host_lost(session());
  if ((session().state().header.flags.load() & kDriverMismatch) != 0) return kVersionMismatch;
  if (const auto code = apply_faults(session(), "nvmlInit_v2", -1)) return *code;
  initialized.fetch_add(1);
  return kSuccess;
}

Return ready() {
  if (initialized.load(std::memory_order_relaxed) <= 0) return kUninitialized;
  if (session().is_inherited()) return kUninitialized;
  const std::uint32_t flags = session().state().header.flags.load(std::memory_order_relaxed);
  if ((flags & kDestroyed) != 0) return kGpuIsLost;
  if ((flags & kHostLost) != 0) wait_while_host_lost(session());
  return kSuccess;
}

}  // namespace

Handle* handle_of(unsigned index) {
  return handles.data() + std::size_t{index} * kHandlesPerDevice;
}
Handle* handle_of(unsigned index, unsigned instance) {
  return handle_of(index) + 1 + instance;
}

Return enter(const char* function) {
  if (const Return code = ready(); code != 0) return code;
  return apply_faults(session(), function, -1).value_or(kSuccess);
}

Return device_problem(unsigned index) {
  const std::uint32_t flags = device_entry(index).flags.load(std::memory_order_relaxed);
  if ((flags & kOffTheBus) != 0) return kGpuIsLost;
  return (flags & kResetRequired) != 0 ? kGpuResetRequired : kSuccess;
}

bool has_rights() {
  return ::geteuid() == 0 && (session().state().header.flags.load() & kNoRights) == 0;
}

Return enter(const char* function, const Handle* device, unsigned& index) {
  std::uint32_t instance = kNoInstance;
  const Return code = enter(function, device, index, instance);
  return code == kSuccess && instance != kNoInstance ? kNotSupported : code;
}

Return enter(const char* function, const Handle* device, unsigned& index, std::uint32_t& instance) {
  if (const Return code = ready(); code != 0) return code;
  if (device < handles.data() || device >= handle_of(session().device_count())) {
    return kInvalidArgument;
  }
  index = device->index;
  instance = device->instance;
  if (instance != kNoInstance && instance >= device_entry(index).instances) return kInvalidArgument;
  if (const auto code = apply_faults(session(), function, static_cast<int>(index))) return *code;
  return device_problem(index);
}

Return put_text(const char* text, char* out, std::uint32_t length) {
  if (out == nullptr) return kInvalidArgument;
  const std::size_t needed = std::strlen(text) + 1;
  if (length < needed) return kInsufficientSize;
  std::memcpy(out, text, needed);
  return kSuccess;
}

std::int64_t civil_offset_us() {
  timespec civil;
  ::clock_gettime(CLOCK_REALTIME, &civil);
  const std::int64_t now = std::int64_t{civil.tv_sec} * 1'000'000 + civil.tv_nsec / 1000;
  return now - static_cast<std::int64_t>(monotonic_ns() / 1000);
}

namespace {

const char* error_text(Return code) {
  switch (code) {
    case 0:
      return "Success";
    case 1:
      return "Uninitialized";
    case 2:
      return "Invalid Argument";
    case 3:
      return "Not Supported";
    case 4:
      return "Insufficient Permissions";
    case 5:
      return "Already Initialized";
    case 6:
      return "Not Found";
    case 7:
      return "Insufficient Size";
    case 8:
      return "Insufficient External Power";
    case 9:
      return "Driver Not Loaded";
    case 10:
      return "Timeout";
    case 11:
      return "Interrupt Request Issue";
    case 12:
      return "NVML Shared Library Not Found";
    case 13:
      return "Function Not Found";
    case 14:
      return "Corrupted infoROM";
    case 15:
      return "GPU is lost";
    case 16:
      return "GPU requires restart";
    case 17:
      return "The operating system has blocked the request";
    case 18:
      return "Driver/library version mismatch";
    case 19:
      return "In use by another client";
    case 20:
      return "Insufficient Memory";
    case 21:
      return "No data";
    case 23:
      return "Insufficient Resources";
    case 25:
      return "Argument version mismatch";
    case 26:
      return "Deprecated";
    case 27:
      return "Not Ready";
    default:
      return "Unknown Error";
  }
}

}  // namespace
}  // namespace gpuward::gpusim::nvml

using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlInit_v2() {
  return initialize();
}
GPUSIM_NVML nvmlInit() {
  return initialize();
}
GPUSIM_NVML nvmlInitWithFlags(unsigned) {
  return initialize();
}

GPUSIM_NVML nvmlShutdown() {
  if (const Return code = enter(__func__); code != 0) return code;
  initialized.fetch_sub(1);  // the state file stays open: see Session
  return nvml::kSuccess;
}

extern "C" __attribute__((visibility("default"))) const char* nvmlErrorString(Return code) {
  return error_text(code);
}

GPUSIM_NVML nvmlSystemGetDriverVersion(char* out, unsigned length) {
  GPUSIM_NVML_ENTER();
  return put_text("570.86.10", out, length);
}

GPUSIM_NVML nvmlSystemGetNVMLVersion(char* out, unsigned length) {
  GPUSIM_NVML_ENTER();
  return put_text("12.570.86.10", out, length);
}

GPUSIM_NVML nvmlSystemGetCudaDriverVersion_v2(int* out) {
  GPUSIM_NVML_ENTER();
  if (out == nullptr) return kInvalidArgument;
  *out = static_cast<int>(session().state().header.driver_version);
  return nvml::kSuccess;
}
GPUSIM_NVML nvmlSystemGetCudaDriverVersion(int* out) {
  return nvmlSystemGetCudaDriverVersion_v2(out);
}

GPUSIM_NVML nvmlSystemGetProcessName(unsigned pid, char* out, unsigned length) {
  GPUSIM_NVML_ENTER();
  if (out == nullptr || length == 0) return kInvalidArgument;
  char path[40];
  std::snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
  std::FILE* file = std::fopen(path, "re");
  if (file == nullptr) return nvml::kNotFound;
  const std::size_t got = std::fread(out, 1, length - 1, file);
  std::fclose(file);
  out[got] = 0;  // the first word ends at its own zero
  return got == 0 ? nvml::kNotFound : nvml::kSuccess;
}
