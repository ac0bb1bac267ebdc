#pragma once

#include "base/units.h"
#include "os/fd.h"
#include "os/process.h"

namespace gpuward::sentinel {

/// What `gpuward-sentinel --probe` exits with when the driver was changed underneath.
inline constexpr int kProbeMismatch = 18;

/// Whoever has the driver open goes on seeing the cards after it was changed underneath; only a new
/// process learns that it was. So now and then a new one is started that tries to open it, and does
/// nothing else.
class DriverProbe {
 public:
  static constexpr std::chrono::seconds kPeriod{30};
  static constexpr std::chrono::seconds kPatience{5};

  /// Begins a probe when one is due, and ends one that takes too long.
  void tick(Instant now);
  /// When tick() has something to do next.
  Instant due() const { return due_; }
  /// For poll(2): readable when finish() has something. -1: none is under way.
  int poll_fd() const { return process_.poll_fd(); }
  void finish();
  /// Does a new process find another driver than the one that is loaded?
  bool driver_changed() const { return changed_; }

 private:
  os::Process process_;
  Instant due_ = Instant::min();
  bool late_ = false;  // it was told to end
  bool changed_ = false;
};

}  // namespace gpuward::sentinel
