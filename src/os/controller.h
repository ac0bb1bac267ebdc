#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/pid.h"
#include "base/units.h"
#include "os/cgroup.h"
#include "os/fd.h"

namespace gpuward::os {

/// The cgroup controllers that limit a tree.
enum class Controller : std::uint8_t { memory = 0, cpu = 1 };
/// "memory".
std::string_view to_string(Controller what);

/// A group in which one controller limits a whole tree. On cgroup2 it is the tree's own; where the
/// controller belongs to a v1 hierarchy it is one beside it, which processes have to enter. Held as
/// an open folder. Only create() and open() allocate.
class ControllerGroup {
 public:
  ControllerGroup() = default;
  ControllerGroup(ControllerGroup&&) = default;
  ControllerGroup& operator=(ControllerGroup&&) = default;

  /// Takes @p tree's own group if its cgroup2 has the controller, and hands the controller down to
  /// it where that is needed (cgroup.subtree_control of the group above); else makes a group called
  /// @p name below our own in the v1 hierarchy, or takes over the one that is there. @p tree may be
  /// empty. Errors say what was tried.
  static Result<ControllerGroup> create(Controller what, const Cgroup& tree, std::string_view name);
  /// Opens an existing group by absolute path.
  static Result<ControllerGroup> open(Controller what, const std::string& path);

  explicit operator bool() const { return static_cast<bool>(dir_); }
  const std::string& path() const { return path_; }
  /// Of a v1 hierarchy, so that it is ours to enter and to remove?
  bool beside() const { return beside_; }

  /// Makes it anew, or opens what was made anew, if somebody removed it.
  Result<void> renew();
  /// Moves @p pid in. Nothing is left to do where it is the tree's own group.
  Result<void> enter(Pid pid) const;
  /// Moves @p pid to the group above, if it is a group beside a tree's.
  void let_out(Pid pid) const;
  /// Of the memory controller: at most @p limit for all members together, without swap. What they
  /// hold already stays: Errc::refused when that is more and cannot be given back (v1: EBUSY),
  /// instead of the kernel ending somebody.
  Result<void> set_memory_max(Bytes limit) const;
  /// Of the cpu controller: its share beside its neighbours, 1 to 10000 as in cgroup2, where 100 is
  /// everybody's. On v1 in cpu.shares, where 1024 is.
  Result<void> set_cpu_weight(std::uint32_t weight) const;
  /// Of the memory controller: how many members the kernel has killed for memory since the group
  /// was made (v2: memory.events, v1: memory.oom_control, 4.13). None where it cannot be read.
  std::optional<std::uint64_t> memory_kills() const;
  /// Removes it, and groups below, if it is one beside; that of a tree goes with the tree. EBUSY
  /// while populated.
  Result<void> remove();

 private:
  Controller what_ = Controller::memory;
  bool beside_ = false;
  std::string path_;
  Fd dir_;
};

/// Where @p what has a v1 hierarchy: the folder of our own group in it. Errors: not_supported.
Result<std::string> find_v1_folder(Controller what);

/// Why no tree on this machine can be limited by @p what, as far as looking tells; empty when it
/// may be possible. Knows nothing of the rights within the group that the warden will be in.
std::string why_no_controller(Controller what);

/// cpu.shares of @p weight: 100 is 1024, within what the kernel takes (2 to 262144).
std::uint64_t cpu_shares_of(std::uint32_t weight);

}  // namespace gpuward::os
