#pragma once

#include "base/units.h"

namespace gpuward {

/// How much of the replicas' work emergencies may have before others, so that the class does not
/// become everybody's; and whether they come often enough to keep a place free for them. Pure.
class EmergencyShare {
 public:
  static constexpr Duration kBurst = std::chrono::minutes(5);  ///< the share holds over this
  static constexpr Duration kMemory = std::chrono::minutes(10);
  static constexpr double kOften = 0.05;  ///< of one place, by their arrivals

  /// @p share  of what the replicas do; 1: all of it.
  explicit EmergencyShare(double share) : share_(share) {}

  /// @p at_once  jobs that are worked on at a time.
  void pass_time(Instant now, double at_once);
  void arrived(Duration takes);
  void worked(Duration took);
  /// False: they have had theirs, and come after interactive jobs.
  bool first() const { return credit_ > 0; }
  bool often() const { return load_ > kOften; }

 private:
  double share_;
  double credit_ = 0;  ///< seconds of work
  double load_ = 0;    ///< of arrivals, seconds of work per second
  Instant last_{};
};

}  // namespace gpuward
