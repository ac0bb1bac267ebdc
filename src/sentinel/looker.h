#pragma once

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "gpu/nvml.h"
#include "os/fd.h"

namespace gpuward::sentinel {

/// A call that has not come back after this hangs. Calls take below a few milliseconds once a card
/// is awake. With a look each second, a card is suspect at most 1.95 s after it got stuck: the rest
/// of a second until the next look begins, the calls before the one that hangs, and this.
inline constexpr std::chrono::milliseconds kCallDeadline{900};
/// The same of the calls that wake a card, or load the driver: without persistence mode those take
/// seconds, once.
inline constexpr std::chrono::milliseconds kWakeDeadline{5000};

/// The same of what a look does between two calls: reading files about processes, which may be
/// thousands, on a machine that may be busy.
inline constexpr std::chrono::milliseconds kGapDeadline{5000};

/// When @p call, or the gap where it names none, will have taken too long.
/// @param asked  when the look was asked for: the gap before its first call begins there
Instant stuck_at(const gpu::CallMark::Call& call, Instant asked);

/// Looks at the cards on a thread of its own, because a call into a stuck driver never returns and
/// cannot be ended. One look at a time; the functions here are for one other thread, which never
/// waits for it. The thread is not joined, so a Looker lives until the process _exits: create it
/// with start() only.
class Looker {
 public:
  /// Starts the thread. Errors: as eventfd(2); EAGAIN when there can be no thread.
  static Result<Looker*> start(gpu::NvmlOptions options);
  Looker(const Looker&) = delete;
  Looker& operator=(const Looker&) = delete;

  /// Asks for a look. False: one is under way, and what it reads may be older than this question.
  /// @param everything  also what is not due yet
  bool ask(bool everything = false);
  /// Readable when take() has something.
  int ready_fd() const { return ready_.get(); }
  /// The snapshot of the look that ended, once.
  std::optional<GpuSnapshot> take();
  /// When what is under way will have taken too long. For as long as a look is.
  Instant stuck_at() const;
  /// When to ask for stuck_at() again: by then the next call may be the one that is stuck.
  Instant check_at(Instant now) const { return std::min(stuck_at(), now + kCallDeadline); }
  /// Is a call under way that may take seconds?
  bool is_waking() const;
  /// What can be said while a call hangs: sight hung, the cards as last read; the card in whose
  /// call it hangs is suspect, or all are when the call is about none. No list of processes counts
  /// as visible: the numbers are old.
  GpuSnapshot hung(Instant now) const;
  /// What can be said while a look takes its time, as the first one does that wakes the cards.
  GpuSnapshot unfinished() const;

 private:
  Looker(os::Fd ready, gpu::NvmlOptions options)
      : ready_(std::move(ready)), nvml_(std::move(options)) {}
  void work();
  std::string what_it_does() const;

  os::Fd ready_;
  gpu::Nvml nvml_;
  GpuSnapshot last_;  // the last that was taken
  Instant asked_at_ = Instant::min();
  std::mutex mutex_;  // held for moments only, never during a call into the driver
  std::condition_variable wake_;
  bool asked_ = false;
  bool everything_ = false;
  bool busy_ = false;
  std::optional<GpuSnapshot> done_;
};

}  // namespace gpuward::sentinel
