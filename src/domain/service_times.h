#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>

#include "base/units.h"
#include "domain/job.h"

namespace gpuward {

/// How long jobs take once a replica has them, by route and size (powers of two), learned from
/// those that ended. Bounded: of more than kMostClasses kinds the later ones stay unknown.
class ServiceTimes {
 public:
  static constexpr std::size_t kMemory = 200;  ///< the fastest are found among so many
  static constexpr std::size_t kRecent = 32;   ///< what is usual now, among so many
  static constexpr std::size_t kEnough = 3;    ///< fewer, and the duration is unknown
  static constexpr std::size_t kMostClasses = 256;
  /// Shorter jobs are many: their estimate is made anew with each 16th of a kind. It takes about 2
  /// us.
  static constexpr Duration kShort = std::chrono::milliseconds(10);
  static constexpr std::uint64_t kAnewEvery = 16;

  struct Estimate {
    Duration floor{};  ///< R0: the 10th percentile of the last kMemory; hardly ever less
    Duration usual{};  ///< mean of the last kRecent
    Duration safe{};   ///< 90th percentile of these
  };

  void add(std::uint32_t route, Bytes size, Duration took);
  /// Absent until kEnough jobs like it have ended.
  std::optional<Estimate> find(std::uint32_t route, Bytes size) const;
  /// Of all jobs, for want of better; absent before the first.
  std::optional<Duration> usual() const;

 private:
  struct Class {
    std::array<float, kMemory> seconds{};
    std::uint64_t seen = 0;
    Estimate estimate;
  };
  using Key = std::pair<std::uint32_t, std::uint32_t>;
  static Key key_of(std::uint32_t route, Bytes size);
  static Estimate estimate(const Class& of);
  std::map<Key, Class> classes_;
  double all_mean_ = 0;
  std::uint64_t all_seen_ = 0;
};

}  // namespace gpuward
