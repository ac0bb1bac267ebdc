#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/units.h"

namespace gpuward {

/// The largest of many sightings, such that one odd sighting cannot raise it for ever. What was
/// seen once counts at once and for the next epoch; what was seen twice sinks slowly while nothing
/// like it comes.
class HighMark {
 public:
  static constexpr double kKept = 0.95;  ///< of what was seen twice, after an epoch without it

  void see(double value);
  /// An epoch is over.
  void turn();
  double value() const;

 private:
  struct Two {
    double first = 0, second = 0;  ///< the largest, and the next
    void see(double value);
  };
  Two now_;
  Two before_;
  double twice_ = 0;
};

/// Jobs that share memory at one moment.
struct Load {
  std::uint32_t jobs = 0;
  double size = 0;  ///< sum of footprint_size()
  friend bool operator==(const Load&, const Load&) = default;
};

/// What a job brings: its bytes, or 1 where they are unknown.
inline double footprint_size(Bytes size) {
  return size.count == 0 ? 1.0 : static_cast<double>(size.count);
}

/// What one job needs of one kind of memory, learned from peaks and from what was in flight *at the
/// peak*. Two upper bounds, per byte of its size and per job; the lower one counts, the second only
/// for sizes that were seen. Time is counted in jobs: whoever has no fresh numbers does not call
/// it, and nothing is forgotten.
class Footprint {
 public:
  static constexpr double kMargin = 1.15;
  static constexpr std::uint32_t kEnough = 3;   ///< jobs to have seen before more than one may run
  static constexpr std::uint32_t kEpoch = 500;  ///< jobs
  /// Memory goes with size for certain where sizes this far apart took alike per byte.
  static constexpr double kSizesApart = 2;
  static constexpr double kSlopesAlike = 1.5;

  /// Jobs of @p load held @p above_base at a peak; or had so much, and it was not enough.
  void see_peak(Bytes above_base, const Load& load);
  /// One ended well. The peaks of its time have been seen.
  void see_job(double size);

  /// For one job of @p size, with the margin; absent while not enough is known.
  std::optional<Bytes> need(double size) const;
  /// The least that a job of @p size, larger than any that ended well, is certain to need; absent
  /// when nothing is certain.
  std::optional<Bytes> certain_need(double size) const;
  std::uint32_t jobs() const { return jobs_; }
  double largest() const { return largest_; }
  double per_size() const { return per_size_.value(); }
  double per_job() const { return per_job_.value(); }

 private:
  struct Range {
    double least = 0, most = 0;  ///< 0: none yet
    void see(double value);
  };
  HighMark per_size_;
  HighMark per_job_;
  double largest_ = 0;  ///< size that ended well
  double covered_ = 0;  ///< sizes up to this were seen to need what per_job_ says
  std::uint32_t jobs_ = 0;
  std::uint32_t of_epoch_ = 0;
  Range slopes_;  ///< of jobs that ran alone
  Range sizes_;
};

}  // namespace gpuward
