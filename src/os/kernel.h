#pragma once

#include <string>
#include <string_view>

namespace gpuward::os {

/// What this kernel lets *this process* do, found by trying each mechanism once. "false" means
/// absent, forbidden or masked; every user of a mechanism has a fall-back.
///
/// GPUWARD_KERNEL_MASK=no_pidfd,no_cgroup_kill,... hides features, so that every fall-back can be
/// exercised on one machine. Names: no_pidfd, no_clone_into_cgroup, no_cgroup_kill,
/// no_cgroup_freeze, no_cgroup, no_cgroup1, no_cgroup2, no_proc_children, no_pid_namespace.
struct Kernel {
  bool pidfd = false;              ///< pidfd_open + pidfd_send_signal (5.3, 5.1)
  bool clone_into_cgroup = false;  ///< clone3 with CLONE_INTO_CGROUP (5.7)
  bool proc_children = false;      ///< /proc/PID/task/TID/children (3.5, CONFIG_PROC_CHILDREN)
  bool pid_namespace = true;       ///< may PID namespaces be tried (only a mask forbids it)
  bool cgroup = true;              ///< may cgroups be tried at all (only a mask forbids it)
  bool cgroup1 = true;             ///< may v1 hierarchies be tried (only a mask forbids it)
  bool cgroup2 = true;             ///< may cgroup v2 be tried (only a mask forbids it)
  bool cgroup_kill = true;         ///< write "1" to cgroup.kill (5.14); decided again per cgroup
  bool cgroup_freeze = true;       ///< write "1" to cgroup.freeze (5.2); decided again per cgroup
};

/// Probes once per process; later calls return the same answer. Not thread-safe on the first call.
const Kernel& kernel();

/// A probe with an explicit mask. Unknown mask names are returned in @p unknown, comma-separated.
Kernel probe_kernel(std::string_view mask, std::string* unknown = nullptr);

/// Does a pidfd tell how its process ended, although somebody else reaped it (PIDFD_INFO_EXIT,
/// 6.15)? Tried on a child of our own that ends at once: for programs with one thread, and apart
/// from kernel(), which anchors ask at each start.
bool try_exit_info();

}  // namespace gpuward::os
