#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "gpu/nvml.h"
#include "os/fd.h"

namespace gpuward::sentinel {

/// Looks at the cards on a thread of its own, because a call into a stuck driver never returns and
/// cannot be ended. One look at a time; the functions here are for one other thread, which never
/// waits for it. The thread is not joined, so a Looker lives until the process _exits: create it
/// with start() only.
class Looker {
 public:
  /// Starts the thread. Errors: as eventfd(2); EAGAIN when there can be no thread.
  static Result<Looker*> start();
  Looker(const Looker&) = delete;
  Looker& operator=(const Looker&) = delete;

  /// Asks for a look. False: one is under way, and what it reads may be older than this question.
  bool ask();
  /// Readable when take() has something.
  int ready_fd() const { return ready_.get(); }
  /// The snapshot of the look that ended, once.
  std::optional<GpuSnapshot> take();
  /// What can be said while a look does not end: sight hung, the cards as last read; the card in
  /// whose call it hangs is suspect, or all are when the call is about none.
  /// @param waited  since the look was asked for
  GpuSnapshot hung(std::chrono::milliseconds waited) const;

 private:
  explicit Looker(os::Fd ready) : ready_(std::move(ready)) {}
  void work();

  os::Fd ready_;
  gpu::Nvml nvml_;
  GpuSnapshot last_;  // the last that was taken
  std::mutex mutex_;  // held for moments only, never during a call into the driver
  std::condition_variable wake_;
  bool asked_ = false;
  bool busy_ = false;
  std::optional<GpuSnapshot> done_;
};

/// A look that has not ended after this is reported as hung.
inline constexpr std::chrono::milliseconds kLookDeadline{2000};

}  // namespace gpuward::sentinel
