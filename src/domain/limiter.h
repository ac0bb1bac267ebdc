#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace gpuward {

// clang-format off
// How many jobs one replica may have at a time, learned from what more of them brought: the
// "queue-excess gradient". Pure; counts in completions, not in seconds, because a job may take minutes.
//
// A window ends after `window` completions. Over it: n = time average in flight, X = completions per
// second, rho = median of (service time / fastest usual for such a job), q = n (1 - 1/rho) = jobs that
// wait *inside* the replica, e = gain of X against the next smaller limit that was tried, as a share of
// the gain in limit.
//
//   n < 0.7 limit                                    -> the limit was not tested: leave it
//   q < alpha, or e >= 0.3 and rho <= stretch        -> one eighth more, at least one
//   q > beta, and e < 0.1 or rho > stretch           -> one eighth less, at least one
//   half an hour at its limit without a pause        -> one less for one window: what is fastest is learned
//                                                       where it is not crowded
//   failure with n in flight                         -> half; not above n - 1 for an hour
//
// It begins with 1. Memory is none of its business: the gate has to agree as well.
// clang-format on
class Limiter {
 public:
  struct Settings {
    std::uint32_t most = 256;
    double stretch = 2.0;  ///< S: of the service time, accepted for more throughput
  };
  static constexpr double kTested = 0.7;
  static constexpr double kWorthIt = 0.3;
  static constexpr double kWorthNothing = 0.1;
  static constexpr Duration kSaturatedFor = std::chrono::minutes(30);
  static constexpr Duration kCeilingFor = std::chrono::hours(1);

  Limiter() : Limiter(Settings{}) {}
  explicit Limiter(Settings settings) : settings_(settings) {}

  std::uint32_t limit() const { return limit_; }
  std::uint32_t in_flight() const { return in_flight_; }
  /// Jobs worked on at a time while the replica had enough to do: what memory and limit allow.
  double at_once() const;

  void began(Instant now);
  /// @p stretch  service time / fastest usual for such a job, upstream alone; 0: unknown.
  /// @p may_grow false: it is not known what is free, so no more than now.
  void done(double stretch, bool may_grow, Instant now);
  /// It ended, and says nothing about how long it takes.
  void left(Instant now);
  /// Out of memory, a CUDA error, the end of the process; the job itself is told by left().
  void failed(Instant now);
  /// A new process: begins with 1 again, and keeps the ceiling.
  void restart(Instant now);

  /// Why the limit is what it is, for `status`.
  enum class Why : std::uint8_t {
    start,
    grew,
    shrank,
    untested,
    held,
    relearning,
    failure,
    ceiling
  };
  Why why() const { return why_; }

 private:
  void pass(Instant now);
  void begin_window(Instant now);
  void end_window(bool may_grow, Instant now);
  double elasticity(double throughput) const;
  void set(std::uint32_t limit, Why why);
  std::uint32_t window() const;

  Settings settings_;
  std::uint32_t limit_ = 1;
  std::uint32_t in_flight_ = 0;
  Why why_ = Why::start;

  Instant window_began_{};
  Instant last_{};
  double job_seconds_ = 0;
  std::vector<float> stretches_;
  std::uint32_t completions_ = 0;

  std::map<std::uint32_t, double> throughput_;  ///< by limit, completions per second
  double at_once_ = 0;
  Instant saturated_since_{};
  bool saturated_ = false;
  std::uint32_t before_relearning_ = 0;  ///< 0: not relearning
  std::uint32_t ceiling_ = 0;            ///< 0: none
  Instant ceiling_until_{};
};
std::string_view name(Limiter::Why why);

}  // namespace gpuward
