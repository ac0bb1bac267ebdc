#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <stop_token>
#include <string>

#include "base/units.h"
#include "xray/cuda_abi.h"
#include "xray/problem.h"

namespace gpuward::xray {

class Gpu;

/// Device memory of one owner; given back when it goes, unless the context is gone already.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept
      : gpu_(std::exchange(other.gpu_, nullptr)), address_(other.address_) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory();

  cuda::DevicePointer address() const { return gpu_ != nullptr ? address_ : 0; }
  /// Gives up ownership: the memory stays taken until the context ends.
  void leak() { gpu_ = nullptr; }

 private:
  friend class Gpu;
  DeviceMemory(Gpu* gpu, cuda::DevicePointer address) : gpu_(gpu), address_(address) {}
  Gpu* gpu_ = nullptr;
  cuda::DevicePointer address_ = 0;
};

/// A row of short kernels, as an engine's token steps.
struct TokenRun {
  unsigned kernels = 300;
  std::chrono::nanoseconds kernel_time{1'130'000};
  unsigned launch_ahead = 1;  ///< launches before each wait for the card; at least 1
};

/// Device 0 by the driver API of libcuda.so.1, its primary context and our kernel. Any thread may
/// call; every call may fail with 500 and the driver's error name. Stays where it is: memory
/// points back to it.
class Gpu {
 public:
  /// Loads the driver and makes the context. Problems: 503 without a driver, a device, a context.
  static Outcome<std::unique_ptr<Gpu>> open(cuda::Wait wait);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const std::string& name() const { return name_; }
  /// Problem 503 "out_of_memory" with the bytes tried, free and in total.
  Outcome<DeviceMemory> allocate(Bytes bytes);
  /// Runs the kernels on a stream of its own; @p out takes their results (64 KiB) unless 0.
  Outcome<void> run(const TokenRun& tokens, cuda::DevicePointer out, const std::stop_token& cancel);
  /// The ghost fault: the context goes while the process lives on. All later calls fail.
  void destroy_context();

 private:
  friend class DeviceMemory;
  Gpu() = default;
  Outcome<void> start(cuda::Wait wait);
  Outcome<void> steps(const TokenRun& tokens, cuda::DevicePointer out, cuda::Stream stream,
                      const std::stop_token& cancel);
  cuda::Status make_current() const;
  void free(cuda::DevicePointer address);
  std::unexpected<Problem> failed(const char* what, cuda::Status status) const;

  cuda::Api api_{};
  std::string name_;
  // Shared by every driver call, alone by destroy_context(): no call runs on a context that goes.
  mutable std::shared_mutex alive_;
  cuda::Context context_ = nullptr;
  cuda::Device device_ = 0;
  cuda::Function kernel_ = nullptr;
};

/// The reason of an out-of-memory problem as frameworks log it:
/// "CUDA out of memory. Tried to allocate 1.0 GiB; 0.5 GiB of 40.0 GiB are free."
std::string out_of_memory_line(const Problem& problem);

}  // namespace gpuward::xray
