#include "xray/gpu.h"

#include <dlfcn.h>

#include <array>
#include <mutex>

#include "xray/kernel.h"

namespace gpuward::xray {
namespace {

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

// The library stays loaded for good: drivers do not survive being unloaded.
Outcome<cuda::Api> load() {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    return refuse(503, "no_driver", "libcuda.so.1 cannot be loaded: no CUDA driver here");
  cuda::Api api{};
  const bool complete =
      find(library, "cuInit", api.init) &&
      find(library, "cuDeviceGetCount", api.device_get_count) &&
      find(library, "cuDeviceGet", api.device_get) &&
      find(library, "cuDeviceGetName", api.device_get_name) &&
      find(library, "cuDevicePrimaryCtxSetFlags_v2", api.primary_context_set_flags) &&
      find(library, "cuDevicePrimaryCtxRetain", api.primary_context_retain) &&
      find(library, "cuDevicePrimaryCtxRelease_v2", api.primary_context_release) &&
      find(library, "cuCtxSetCurrent", api.context_set_current) &&
      find(library, "cuMemAlloc_v2", api.memory_allocate) &&
      find(library, "cuMemFree_v2", api.memory_free) &&
      find(library, "cuMemGetInfo_v2", api.memory_get_info) &&
      find(library, "cuModuleLoadData", api.module_load_data) &&
      find(library, "cuModuleGetFunction", api.module_get_function) &&
      find(library, "cuLaunchKernel", api.launch_kernel) &&
      find(library, "cuStreamCreate", api.stream_create) &&
      find(library, "cuStreamDestroy_v2", api.stream_destroy) &&
      find(library, "cuStreamSynchronize", api.stream_synchronize) &&
      find(library, "cuGetErrorName", api.get_error_name);
  if (!complete) return refuse(503, "no_driver", "libcuda.so.1 is too old: a function is missing");
  return api;
}

std::uint64_t number(const Problem& problem, std::string_view name) {
  for (const auto& [key, value] : problem.numbers)
    if (key == name) return value;
  return 0;
}

}  // namespace

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  if (this != &other) {
    if (gpu_ != nullptr) gpu_->free(address_);
    gpu_ = std::exchange(other.gpu_, nullptr);
    address_ = other.address_;
  }
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (gpu_ != nullptr) gpu_->free(address_);
}

Outcome<std::unique_ptr<Gpu>> Gpu::open(cuda::Wait wait) {
  auto api = load();
  if (!api) return std::unexpected(std::move(api).error());
  std::unique_ptr<Gpu> gpu(new Gpu);
  gpu->api_ = *api;
  if (auto started = gpu->start(wait); !started) {
    started.error().status = 503;
    return std::unexpected(std::move(started).error());
  }
  return gpu;
}

Gpu::~Gpu() {
  destroy_context();
}

Outcome<void> Gpu::start(cuda::Wait wait) {
  if (const auto status = api_.init(0); status != cuda::kSuccess) return failed("cuInit", status);
  int count = 0;
  if (const auto status = api_.device_get_count(&count); status != cuda::kSuccess)
    return failed("cuDeviceGetCount", status);
  if (count == 0) return refuse(503, "no_gpu", "the CUDA driver shows no device");
  if (const auto status = api_.device_get(&device_, 0); status != cuda::kSuccess)
    return failed("cuDeviceGet", status);
  std::array<char, 128> name{};
  if (api_.device_get_name(name.data(), name.size() - 1, device_) == cuda::kSuccess)
    name_ = name.data();
  // Refused when the context exists already; then it keeps the way of waiting that it has.
  api_.primary_context_set_flags(device_, static_cast<unsigned>(wait));
  if (const auto status = api_.primary_context_retain(&context_, device_);
      status != cuda::kSuccess) {
    context_ = nullptr;
    return failed("cuDevicePrimaryCtxRetain", status);
  }
  if (const auto status = make_current(); status != cuda::kSuccess)
    return failed("cuCtxSetCurrent", status);
  cuda::Module module = nullptr;
  if (const auto status = api_.module_load_data(&module, kTokenStepPtx); status != cuda::kSuccess)
    return failed("cuModuleLoadData", status);
  if (const auto status = api_.module_get_function(&kernel_, module, "token_step");
      status != cuda::kSuccess)
    return failed("cuModuleGetFunction", status);
  return {};
}

cuda::Status Gpu::make_current() const {
  return context_ != nullptr ? api_.context_set_current(context_) : cuda::kContextIsDestroyed;
}

std::unexpected<Problem> Gpu::failed(const char* what, cuda::Status status) const {
  const char* name = nullptr;
  if (api_.get_error_name(status, &name) != cuda::kSuccess || name == nullptr) name = "unknown";
  return refuse(500, "cuda_error", std::string("CUDA error: ") + what + " failed: " + name,
                {{"cuda_status", static_cast<std::uint64_t>(status)}});
}

Outcome<DeviceMemory> Gpu::allocate(Bytes bytes) {
  const std::shared_lock lock(alive_);
  auto status = make_current();
  cuda::DevicePointer address = 0;
  if (status == cuda::kSuccess) status = api_.memory_allocate(&address, bytes.count);
  if (status == cuda::kSuccess) return DeviceMemory(this, address);
  if (status != cuda::kOutOfMemory) return failed("cuMemAlloc", status);
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  api_.memory_get_info(&free_bytes, &total_bytes);
  return refuse(
      503, "out_of_memory", "CUDA out of memory",
      {{"tried_bytes", bytes.count}, {"free_bytes", free_bytes}, {"total_bytes", total_bytes}});
}

void Gpu::free(cuda::DevicePointer address) {
  const std::shared_lock lock(alive_);
  if (make_current() == cuda::kSuccess) api_.memory_free(address);
}

Outcome<void> Gpu::run(const TokenRun& tokens, cuda::DevicePointer out,
                       const std::stop_token& cancel) {
  cuda::Stream stream = nullptr;
  {
    const std::shared_lock lock(alive_);
    auto status = make_current();
    if (status == cuda::kSuccess) status = api_.stream_create(&stream, cuda::kStreamNonBlocking);
    if (status != cuda::kSuccess) return failed("cuStreamCreate", status);
  }
  auto done = steps(tokens, out, stream, cancel);
  const std::shared_lock lock(alive_);
  if (make_current() == cuda::kSuccess) api_.stream_destroy(stream);
  return done;
}

Outcome<void> Gpu::steps(const TokenRun& tokens, cuda::DevicePointer out, cuda::Stream stream,
                         const std::stop_token& cancel) {
  auto nanoseconds = static_cast<std::uint64_t>(tokens.kernel_time.count());
  std::array<void*, 2> parameters = {&nanoseconds, &out};
  for (unsigned done = 0; done < tokens.kernels;) {
    if (cancel.stop_requested()) return cancelled();
    // Held for one step only, so that the ghost fault need not wait for the whole run.
    const std::shared_lock lock(alive_);
    if (const auto status = make_current(); status != cuda::kSuccess)
      return failed("cuCtxSetCurrent", status);
    const unsigned batch = std::min(tokens.launch_ahead, tokens.kernels - done);
    for (unsigned i = 0; i < batch; ++i) {
      const auto status = api_.launch_kernel(kernel_, kGrid, 1, 1, kBlock, 1, 1, 0, stream,
                                             parameters.data(), nullptr);
      if (status != cuda::kSuccess) return failed("cuLaunchKernel", status);
    }
    if (const auto status = api_.stream_synchronize(stream); status != cuda::kSuccess)
      return failed("cuStreamSynchronize", status);
    done += batch;
  }
  return {};
}

void Gpu::destroy_context() {
  const std::unique_lock lock(alive_);
  if (context_ == nullptr) return;
  api_.primary_context_release(device_);
  context_ = nullptr;
}

std::string out_of_memory_line(const Problem& problem) {
  return "CUDA out of memory. Tried to allocate " +
         to_string(Bytes{number(problem, "tried_bytes")}) + "; " +
         to_string(Bytes{number(problem, "free_bytes")}) + " of " +
         to_string(Bytes{number(problem, "total_bytes")}) + " are free.";
}

}  // namespace gpuward::xray
