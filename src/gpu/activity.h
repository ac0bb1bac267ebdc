#pragma once

#include "domain/gpu.h"
#include "gpu/caller.h"

namespace gpuward::gpu {

/// GPM of one card: the difference between two of the driver's samples. Hopper and later; others
/// answer "not supported" once and are not asked again.
class ActivityReader {
 public:
  /// Takes a sample, and reads what happened since the last one into @p activity. Nothing when the
  /// last is younger than kApart.
  /// @param switching  the counters of context switches too
  void read(const Caller& caller, bool switching, GpuActivity& activity);
  /// NVML wants its samples this far apart.
  static constexpr std::int64_t kApart = 100'000'000;

 private:
  bool prepare(const Caller& caller, GpuActivity& activity);

  enum class Support { unknown, yes, no } support_ = Support::unknown;
  abi::GpmSample older_ = nullptr;  // both are the driver's, never freed: as the library itself
  abi::GpmSample newer_ = nullptr;
  std::int64_t taken_ns_ = 0;  // of older_; 0: none yet
};

}  // namespace gpuward::gpu
