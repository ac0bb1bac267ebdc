#pragma once

#include <optional>
#include <span>
#include <vector>

#include "domain/gpu.h"
#include "gpu/caller.h"

// How busy a card and its processes were.

namespace gpuward::gpu {

/// The mean of the samples newer than @p since_us, and the time of the newest; nullopt when there
/// is none. Samples above 100 are no percentages and are left out.
struct SampleMean {
  std::uint32_t percent = 0;
  std::uint64_t newest_us = 0;
};
std::optional<SampleMean> mean_of(std::span<const abi::Sample> samples, std::int32_t type,
                                  std::uint64_t since_us);

/// One kind of the driver's buffered samples: it keeps some seconds of them, so nothing between two
/// looks is missed.
class SampleReader {
 public:
  explicit SampleReader(abi::SamplingType type) : type_(type) {}
  /// Puts the mean since the last read into @p into, which stays as it is for up to 5 s while there
  /// is no newer sample. @return false when the card has none, or none any more.
  bool read(const Caller& caller, Reading<std::uint32_t>& into);

 private:
  abi::SamplingType type_;
  std::uint64_t seen_us_ = 0;
  std::int64_t sampled_ns_ = 0;  ///< when there last was one
  std::vector<abi::Sample> room_;
  bool absent_ = false;
};

/// What one process did in a window.
struct Share {
  std::uint32_t pid = 0;
  std::uint64_t time_us = 0;
  std::uint32_t sm = 0;
  std::uint32_t memory = 0;
};
/// The newest share of each process, ordered by pid. Shares above 100 are none.
std::vector<Share> newest_shares(std::vector<Share> shares);

/// Puts the processes' shares of the last second into their rows. Who is in no sample was idle.
void read_shares(const Caller& caller, std::vector<GpuProcess>& processes);

}  // namespace gpuward::gpu
