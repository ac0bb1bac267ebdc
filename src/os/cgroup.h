#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/pid.h"
#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::os {

enum class CgroupKind : std::uint8_t {
  none = 0,
  v2 = 1,          ///< cgroup2, alone or beside v1 controllers (hybrid)
  v1_freezer = 2,  ///< the v1 freezer hierarchy: membership and freezing, no kill file, no events
};

/// A control group held as an open directory: the same path may be a new group tomorrow. Owns the
/// directory fd, not the group itself; remove() ends the group. Allocation-free except create/open.
class Cgroup {
 public:
  Cgroup() = default;
  Cgroup(Cgroup&&) = default;
  Cgroup& operator=(Cgroup&&) = default;

  /// Makes @p name below @p parent (an absolute path inside the mount), or takes over an existing
  /// group of that name when it is empty. Errors: EBUSY when it is populated, EACCES/EROFS without
  /// the right to make it.
  static Result<Cgroup> create(CgroupKind kind, const std::string& parent, std::string_view name);
  /// Opens an existing group by absolute path.
  static Result<Cgroup> open(CgroupKind kind, const std::string& path);

  explicit operator bool() const { return static_cast<bool>(dir_); }
  CgroupKind kind() const { return kind_; }
  const std::string& path() const { return path_; }
  int dir_fd() const { return dir_.get(); }
  /// cgroup.events for poll(POLLPRI), -1 on v1: there is nothing to wait on there.
  int events_fd() const { return events_.get(); }

  /// Moves @p pid in. For kernels without CLONE_INTO_CGROUP and for v1.
  Result<void> enter(Pid pid) const;
  /// Moves all members to where the programs of gpuward are: kProgramsGroup beside it, else the
  /// group above. Error: why some stay.
  Result<void> move_all_out() const;
  /// Has nobody removed it?
  bool exists() const;
  /// From now on events_fd() is -1: that of a group that is gone is ready for ever.
  void stop_watching() { events_.close(); }
  /// Does the group or one below it hold a process that is not a zombie? Re-reads cgroup.events.
  /// False for one that was removed: the kernel removes empty ones only.
  Result<bool> populated() const;
  /// Calls @p visit(Pid) for each member, in groups below too. A zombie whose threads have all
  /// ended is not listed by v2; pid 0 (a process outside our PID namespace) is skipped.
  template <class Visit>
  Result<void> for_each_member(Visit&& visit) const {
    return each_member(
        dir_, [](void* context, Pid pid) { (*static_cast<Visit*>(context))(pid); }, &visit, 0);
  }
  /// Is @p pid a member of the group or one below it now? By /proc/PID/cgroup.
  bool holds(Pid pid) const;

  /// Stops or continues all members. Errc::not_supported where there is no such file or it is
  /// masked.
  Result<void> freeze(bool on) const;
  /// On v1 a frozen process does not even hear KILL: continues all members, those too that a member
  /// has frozen in a group below. On v2 KILL reaches the frozen, and nothing is done.
  void let_end() const;
  /// May clone3 put a child right into it? Not once it was killed, by us or perhaps by an earlier
  /// owner: from 6.14 on the kernel takes such a child for one that was forked during the kill and
  /// ends it at birth (seen on 6.18; kill_seq in kernel/cgroup/cgroup.c is read from the parent's
  /// group). enter() works.
  bool takes_clones() const { return kind_ == CgroupKind::v2 && !maybe_killed_; }
  /// KILLs all members with one write (5.14). Errc::not_supported where it is missing or masked.
  Result<void> kill() const;
  /// Removes the groups below and this one. EBUSY while populated.
  Result<void> remove();

 private:
  static Result<void> each_member(const Fd& dir, detail::PidCallback callback, void* context,
                                  int depth);
  bool has_path(const char* proc_folder) const;
  CgroupKind kind_ = CgroupKind::none;
  std::string path_;
  std::string relative_;  ///< as /proc/PID/cgroup shows it
  Fd dir_;
  Fd events_;
  mutable bool maybe_killed_ = true;
};

/// Removes the groups below that of the open folder @p dir; the kernel leaves populated ones.
void remove_groups_below(const Fd& dir);

/// The group that the warden and its anchors may have to themselves, below the one that was handed
/// to us: as systemd's DelegateSubgroup= makes it. Trees are made beside it then, so that the group
/// above them all holds no process and may hand controllers down (cgroups(7), "no internal
/// processes").
inline constexpr std::string_view kProgramsGroup = "gpuward.programs";
/// The group below which trees are made by a process that is in @p own, "/system.slice/x".
std::string_view group_for_trees(std::string_view own);

/// Where this process may make groups.
struct CgroupPlace {
  CgroupKind kind = CgroupKind::none;
  std::string mount;   ///< "/sys/fs/cgroup" or ".../unified" or ".../freezer"
  std::string parent;  ///< absolute path of the group below which ours are made
  std::string reason;  ///< for kind none: why not, for people
};

/// Finds the strongest place: our own group on cgroup2, else our own group on the v1 freezer.
/// Tries by making and removing a group there. Honours the kernel mask.
CgroupPlace find_cgroup_place();

struct NamedCgroup {
  CgroupKind kind = CgroupKind::none;
  std::string path;
};

/// Every group whose name ends in @p ending, wherever it stands below the mounts of cgroup2 and of
/// the v1 freezer and may be read. Walks every group: for when nobody knows the path any more.
std::vector<NamedCgroup> find_cgroups(std::string_view ending);

}  // namespace gpuward::os
