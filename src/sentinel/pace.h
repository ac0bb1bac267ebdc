#pragma once

#include <algorithm>
#include <chrono>

#include "base/units.h"

namespace gpuward::sentinel {

/// When the next look begins: one a second, at once for whoever asks, and soon after an event of
/// the driver, of which there may be thousands a second (corrected errors of a failing card). Makes
/// no call; time is an argument.
class Pace {
 public:
  static constexpr std::chrono::milliseconds kPeriod{1000};
  /// After an event no look begins sooner than this after the one before it.
  static constexpr std::chrono::milliseconds kAfterEvent{200};
  /// Everything, due or not, is looked at no more often than this.
  static constexpr std::chrono::milliseconds kFullPeriod{1000};

  void ask() { asked_ = true; }
  /// The last look left something open that the next one can tell.
  void look_soon() { event_ = true; }
  /// What the driver tells by itself is worth a look at what else it now says.
  void hear_event() { event_ = full_ = true; }
  Instant due() const {
    if (asked_) return Instant::min();
    return event_ ? std::min(next_, begun_ + kAfterEvent) : next_;
  }
  /// A look begins. @return whether it is one at everything. One that was put off is the next.
  bool begin(Instant now) {
    asked_ = event_ = false;
    begun_ = now;
    next_ = now + kPeriod;
    if (!full_ || now < full_begun_ + kFullPeriod) return false;
    full_ = false;
    full_begun_ = now;
    return true;
  }

 private:
  bool asked_ = false;
  bool event_ = false;
  bool full_ = false;
  Instant next_ = Instant::min();
  Instant begun_ = Instant::min();
  Instant full_begun_ = Instant::min();
};

}  // namespace gpuward::sentinel
