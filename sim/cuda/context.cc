#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "cuda/driver.h"

namespace gpuward::gpusim {
namespace {

/// The stack of current contexts, per thread as in the real driver. Plain data, so that no
/// destructor has to run in other people's threads.
struct ContextStack {
  static constexpr int kDepth = 64;
  Context* entries[kDepth];
  int size;
};
thread_local ContextStack stack = {};

Context* resolve(Context* context) {
  return is_valid(context, kContextMagic) ? context : nullptr;
}

/// CUDA ordinal to device index, or kMaxDevices.
unsigned device_of(CUdevice ordinal) {
  const auto& visible = driver().visible;
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= visible.size()) return kMaxDevices;
  return visible[static_cast<std::size_t>(ordinal)];
}

/// What cuCtxCreate leaves of MPS: the part of the card that kernels of this process occupy.
std::uint32_t demand_of_environment() {
  const char* text = std::getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
  const int percent = text == nullptr ? 100 : std::atoi(text);
  return percent > 0 && percent <= 100 ? static_cast<std::uint32_t>(percent) * 10 : 1000;
}

}  // namespace

Context* current_context() {
  return stack.size == 0 ? nullptr : stack.entries[stack.size - 1];
}

CUresult require_context(Context*& context) {
  context = current_context();
  if (context == nullptr) return kInvalidContext;
  return context->alive.load() ? kSuccess : kContextIsDestroyed;
}

CUresult make_context(unsigned device, unsigned flags, bool primary, Context*& context) {
  if (const CUresult code = device_problem(device); code != 0) return code;
  Session& session = process_session();
  const std::uint32_t id = driver().next_context.fetch_add(1);
  const auto add = [&](DeviceValue& value) -> CUresult {
    if (free_bytes(value, driver().instance) < value.context_bytes) return kOutOfMemory;
    ContextValue* added = add_context(value, session.slot(), session.generation(), id);
    if (added == nullptr) return kOutOfMemory;
    added->demand_permille =
        value.instances == 0 ? demand_of_environment() : 1000 / value.instances;
    added->instance = driver().instance;
    added->pid = static_cast<std::uint32_t>(::getpid());
    return kSuccess;
  };
  CUresult code = session.change(device, add);
  if (code == kOutOfMemory) {
    session.sweep(device);
    code = session.change(device, add);
  }
  if (code != kSuccess) return code;
  context = new Context{kContextMagic, device, id, {flags}, {true}, primary};
  return kSuccess;
}

CUresult destroy_context(Context& context) {
  if (!context.alive.exchange(false)) return kContextIsDestroyed;
  {
    Driver& self = driver();
    const std::lock_guard guard(self.mutex);
    std::erase_if(self.allocations,
                  [&](const auto& entry) { return entry.second.context == &context; });
  }
  Session& session = process_session();
  session.change(context.device, [&](DeviceValue& device) {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    if (index != device.context_count) remove_context(device, index);
    return 0;
  });
  session.wake_device(context.device);
  return kSuccess;
}

}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

GPUSIM_CUDA cuCtxCreate_v2(CUcontext* out, unsigned flags, CUdevice ordinal) {
  GPUSIM_ENTER();
  if (out == nullptr) return kInvalidValue;
  const unsigned device = device_of(ordinal);
  if (device == kMaxDevices) return kInvalidDevice;
  if (stack.size == ContextStack::kDepth) return kInvalidValue;
  Context* context = nullptr;
  if (const CUresult code = make_context(device, flags, false, context); code != 0) return code;
  stack.entries[stack.size++] = context;
  *out = context;
  return kSuccess;
}

GPUSIM_CUDA cuCtxDestroy_v2(CUcontext handle) {
  GPUSIM_ENTER();
  Context* context = resolve(handle);
  if (context == nullptr || context->primary) return kInvalidContext;
  if (current_context() == context) --stack.size;
  return destroy_context(*context);
}

GPUSIM_CUDA cuCtxSetCurrent(CUcontext handle) {
  GPUSIM_ENTER();
  if (handle == nullptr) {
    if (stack.size > 0) --stack.size;
    return kSuccess;
  }
  Context* context = resolve(handle);
  if (context == nullptr || !context->alive.load()) return kInvalidContext;
  if (stack.size == 0) ++stack.size;
  stack.entries[stack.size - 1] = context;
  return kSuccess;
}

GPUSIM_CUDA cuCtxGetCurrent(CUcontext* out) {
  GPUSIM_ENTER();
  if (out == nullptr) return kInvalidValue;
  *out = current_context();
  return kSuccess;
}

GPUSIM_CUDA cuCtxPushCurrent_v2(CUcontext handle) {
  GPUSIM_ENTER();
  Context* context = resolve(handle);
  if (context == nullptr || !context->alive.load()) return kInvalidContext;
  if (stack.size == ContextStack::kDepth) return kInvalidValue;
  stack.entries[stack.size++] = context;
  return kSuccess;
}

GPUSIM_CUDA cuCtxPopCurrent_v2(CUcontext* out) {
  GPUSIM_ENTER();
  if (stack.size == 0) return kInvalidContext;
  Context* context = stack.entries[--stack.size];
  if (out != nullptr) *out = context;
  return kSuccess;
}

GPUSIM_CUDA cuCtxGetDevice(CUdevice* out) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  if (out == nullptr) return kInvalidValue;
  if (const CUresult code = require_context(context); code != 0) return code;
  const auto& visible = driver().visible;
  for (std::size_t i = 0; i < visible.size(); ++i) {
    if (visible[i] == context->device) *out = static_cast<CUdevice>(i);
  }
  return kSuccess;
}

GPUSIM_CUDA cuCtxGetFlags(unsigned* out) {
  GPUSIM_ENTER();
  Context* context = nullptr;
  if (out == nullptr) return kInvalidValue;
  if (const CUresult code = require_context(context); code != 0) return code;
  *out = context->flags.load();
  return kSuccess;
}

GPUSIM_CUDA cuCtxGetApiVersion(CUcontext handle, unsigned* out) {
  GPUSIM_ENTER();
  if (out == nullptr || (handle != nullptr && resolve(handle) == nullptr)) return kInvalidValue;
  *out = 3020;
  return kSuccess;
}

GPUSIM_CUDA cuCtxSynchronize() {
  GPUSIM_ENTER();
  Context* context = nullptr;
  if (const CUresult code = require_context(context); code != 0) return code;
  std::uint64_t marker = 0;
  if (const CUresult code = last_marker(*context, marker); code != 0) return code;
  return wait_for(*context, marker);
}

GPUSIM_CUDA cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice ordinal) {
  GPUSIM_ENTER();
  const unsigned device = device_of(ordinal);
  if (out == nullptr) return kInvalidValue;
  if (device == kMaxDevices) return kInvalidDevice;
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  PrimaryContext& primary = self.primary[device];
  if (primary.context == nullptr) {
    const CUresult code = make_context(device, primary.flags, true, primary.context);
    if (code != 0) return code;
  }
  ++primary.references;
  *out = primary.context;
  return kSuccess;
}

namespace {

CUresult drop_primary(CUdevice ordinal, bool all) {
  const unsigned device = device_of(ordinal);
  if (device == kMaxDevices) return kInvalidDevice;
  Driver& self = driver();
  Context* last = nullptr;
  {
    const std::lock_guard guard(self.mutex);
    PrimaryContext& primary = self.primary[device];
    if (primary.context == nullptr) return all ? kSuccess : kInvalidContext;
    if (!all && --primary.references > 0) return kSuccess;
    if (all) primary.references = 0;
    last = std::exchange(primary.context, nullptr);
  }
  return destroy_context(*last);
}

}  // namespace

GPUSIM_CUDA cuDevicePrimaryCtxRelease_v2(CUdevice ordinal) {
  GPUSIM_ENTER();
  return drop_primary(ordinal, false);
}

GPUSIM_CUDA cuDevicePrimaryCtxReset_v2(CUdevice ordinal) {
  GPUSIM_ENTER();
  return drop_primary(ordinal, true);
}

GPUSIM_CUDA cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned flags) {
  GPUSIM_ENTER();
  const unsigned device = device_of(ordinal);
  if (device == kMaxDevices) return kInvalidDevice;
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  PrimaryContext& primary = self.primary[device];
  primary.flags = flags;
  if (primary.context != nullptr) primary.context->flags.store(flags);
  return kSuccess;
}

GPUSIM_CUDA cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned* flags, int* active) {
  GPUSIM_ENTER();
  const unsigned device = device_of(ordinal);
  if (device == kMaxDevices) return kInvalidDevice;
  if (flags == nullptr || active == nullptr) return kInvalidValue;
  Driver& self = driver();
  const std::lock_guard guard(self.mutex);
  *flags = self.primary[device].flags;
  *active = self.primary[device].context != nullptr ? 1 : 0;
  return kSuccess;
}
