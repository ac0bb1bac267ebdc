#pragma once

#include <unistd.h>

#include "base/pid.h"
#include "os/proc_fs.h"
#include "os/process.h"

namespace gpuward::anchor {

inline Pid self() {
  return Pid{::getpid()};
}

/// Calls @p meet(child, ended) for each child of @p parent that is one while it is held and @p
/// parent, held too, lives: a number alone may name an innocent by now. Allocates nothing.
template <class Meet>
void for_each_own_child(const os::Process& parent, Meet&& meet) {
  (void)os::for_each_child(parent.pid(), [&](Pid pid) {
    auto child = os::Process::open(pid);
    auto stat = os::read_stat(pid);
    const bool ours = child && stat && stat->parent == parent.pid() && parent.alive();
    if (ours) meet(*child, stat->ended());
  });
}

}  // namespace gpuward::anchor
