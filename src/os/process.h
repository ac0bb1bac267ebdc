#pragma once

#include <utility>

#include "base/error.h"
#include "base/pid.h"
#include "os/fd.h"

namespace gpuward::os {

/// A process held for good: pid, start time and, where the kernel has them, a pidfd. Signals go
/// through the pidfd, so they never reach another process that got the number later. Without pidfds
/// the start time is compared right before kill(2): a window of microseconds remains.
class Process {
 public:
  Process() = default;
  Process(Process&& other) noexcept
      : id_(std::exchange(other.id_, {})), pidfd_(std::move(other.pidfd_)) {}
  Process& operator=(Process&& other) noexcept {
    id_ = std::exchange(other.id_, {});
    pidfd_ = std::move(other.pidfd_);
    return *this;
  }

  /// Holds the process that has @p pid now. Errors: ESRCH or ENOENT when there is none.
  static Result<Process> open(Pid pid);
  /// Holds exactly @p id; ESRCH when that process is gone, whoever has the number now.
  static Result<Process> open(ProcessId id);
  /// Holds our own child @p pid, not reaped yet: it may have ended, its number is kept for us.
  static Result<Process> open_child(Pid pid);
  /// Takes a pidfd that clone3 made for our own child @p pid, not reaped yet.
  static Result<Process> take_child(Pid pid, Fd pidfd);

  explicit operator bool() const { return static_cast<bool>(id_); }
  const ProcessId& id() const { return id_; }
  Pid pid() const { return id_.pid; }
  /// For poll(2): readable once the process has ended. -1 where pidfds are missing.
  int poll_fd() const { return pidfd_.get(); }

  /// Has it not ended yet? A zombie has ended.
  bool alive() const;
  /// Sends @p signal_number. ESRCH when it has ended, EPERM when it is not ours to signal.
  Result<void> signal(int signal_number) const;

 private:
  Process(ProcessId id, Fd pidfd) : id_(id), pidfd_(std::move(pidfd)) {}
  ProcessId id_;
  Fd pidfd_;
};

/// Does exactly this process live? A zombie does not. One /proc read.
bool lives(ProcessId id);

}  // namespace gpuward::os
