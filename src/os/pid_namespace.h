#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "os/fd.h"
#include "os/process.h"

namespace gpuward::os {

/// A PID namespace held by its first process, which does nothing but wait for the orphans inside.
/// Nobody inside can leave it, and when the first process ends the kernel ends all of them before
/// it shows as ended: its end is the proof that none is left.
///
/// Move-only. Destroying the object neither ends the namespace nor waits for it.
class PidNamespace {
 public:
  PidNamespace() = default;

  /// Makes one whose first process is our child. Without the right to (CAP_SYS_ADMIN) it comes with
  /// a user namespace in which this process's user and group are themselves, and no one else is.
  /// @p die_with_us: KILL reaches the first process when this *thread* ends, however it does.
  /// Errors: EPERM and ENOSPC where the host forbids them, Errc::not_supported without pidfds or
  /// masked. Allocates nothing.
  static Result<PidNamespace> make(bool die_with_us);
  /// Until then it ends with this process, however that ends: for what is not on record yet.
  void settle();
  /// That of a first process that somebody else made. ESRCH when it has ended.
  static Result<PidNamespace> open(ProcessId first);

  explicit operator bool() const { return static_cast<bool>(first_); }
  const Process& first() const { return first_; }
  bool alive() const { return first_ && first_.alive(); }
  /// Ends everything in it. Its first process is to be waited for by whoever made it.
  void kill() const;
  /// What setns(2) needs to enter it.
  int entry_flags() const;

 private:
  Process first_;
  Fd gate_;
  bool with_user_ = false;
};

}  // namespace gpuward::os
