#pragma once

#include <string>
#include <vector>

#include "base/pid.h"
#include "domain/anchor_state.h"
#include "os/cgroup.h"
#include "os/proc_fs.h"
#include "os/process.h"

namespace gpuward::anchor {

/// Is @p pid in a container that this anchor is not in? Its groups are its engine's: who moves it
/// out of them frees it of the container's limits and hides it from the engine (harm.md 17).
bool in_container_of_its_own(Pid pid);

/// The processes that were handed over on purpose (key `release`) and live on below an anchor that
/// does not end them. They are told from its tree by a cgroup of their own beside the tree's: what
/// they start is born there, so that nothing has to be followed. Who cannot be moved there is kept
/// on a list by (pid, start time), with what descends from it and what is in its session once
/// another main runs. Only fresh() and taken_over() allocate.
class HandedOver {
 public:
  static constexpr std::size_t kMost = 256;  ///< on the list

  HandedOver() = default;
  /// For a new tree whose group is @p tree, which may be empty.
  static HandedOver fresh(const os::Cgroup& tree);
  /// Those that a dead anchor had handed over; @p more: there may be others.
  static HandedOver taken_over(const AnchorState& last, bool more);

  /// Has anything been handed over that may live? Where not, nothing here costs anything.
  bool any() const { return any_; }
  /// Is there somebody whom only the list tells?
  bool lists_any() const { return !list_.empty(); }
  bool holds(const os::Process& process) const;
  bool holds(Pid pid) const;
  /// As holds(), of a member of the tree's own cgroup.
  bool lists(const os::Process& process) const;

  /// Hands @p process over. @return whether it is; why not is said in @p told.
  bool take(const os::Process& process, const os::ProcStat& stat, HandOver* told);
  /// Is @p parent one of them itself?
  bool is_one(Pid parent) const;
  /// Takes what members of the group have started that is in another group. The monitor of a
  /// container may be handed over: what runs in the container stays in its groups, and is listed.
  void gather();
  /// Brings the list up to date. What a listed one started and left to nobody between two calls is
  /// known by its session alone.
  void follow();
  /// This is the leader of the present session of the tree: what is in it is the tree's.
  void set_main(Pid main) { main_ = main; }
  /// Says in @p state what whoever takes the tree over has to know.
  void note(AnchorState* state) const;

  /// Calls @p visit(Pid) for each of them.
  template <class Visit>
  void for_each(Visit&& visit) const {
    if (group_) (void)group_.for_each_member([&](Pid pid) { visit(pid); });
    for (const auto& one : list_) visit(one.id.pid);
  }

  /// Nobody leads the tree any more: moves them to where its anchor was, and removes their group.
  void let_go();

 private:
  bool known(ProcessId id) const;
  bool descends(Pid parent) const;
  bool add(const os::Process& process, const os::ProcStat& stat);

  os::Cgroup group_;
  std::vector<Released> list_;
  Pid main_;
  bool any_ = false;
};

}  // namespace gpuward::anchor
