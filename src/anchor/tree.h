#pragma once

#include <cstdint>
#include <vector>

#include "base/inline_vec.h"
#include "base/pid.h"
#include "domain/anchor_state.h"
#include "os/cgroup.h"
#include "os/process.h"

namespace gpuward::anchor {

/// The processes of one service: members of its cgroup and descendants of this anchor, which is the
/// subreaper of all of them. Only processes found to be one or the other *while held by a pidfd*
/// are ever signalled. One thread; allocates only when made.
///
/// Without a cgroup it is known by its descendants alone, so look() keeps a list for the record. An
/// anchor that takes such a tree over inherits that list: those processes are not its descendants,
/// and what they start comes to nobody when its parent ends. They and their children are followed
/// by (pid, start time).
class Tree {
 public:
  static constexpr std::size_t kMostSeen = 400;  ///< so that a record holds them beside its plan

  Tree() = default;
  /// Without a cgroup; @p inherited: the list that an earlier anchor left.
  static Tree by_descent(const std::vector<ProcessId>& inherited = {});
  explicit Tree(os::Cgroup cgroup) : cgroup_(std::move(cgroup)) {}

  const os::Cgroup& cgroup() const { return cgroup_; }
  /// Must the owner ask whether it has ended, because nothing will tell?
  bool silent() const {
    return cgroup_.kind() == os::CgroupKind::v1_freezer || !inherited_.empty();
  }

  /// Without a cgroup: lists who belongs to it now. @return whether that has changed.
  bool look();
  /// The list of the last look(), at most kMostSeen; empty where a cgroup holds the tree.
  const std::vector<ProcessId>& seen() const { return seen_; }

  /// Proof: the cgroup says "populated 0" and we have no child left. @p childless is the caller's
  /// ECHILD from waitid. Without a cgroup: no child left, and nothing inherited lives.
  bool empty(bool childless) const;

  /// Sends TERM once to every process; @p main first, so that it sees its children end knowing why.
  /// @return how many were signalled.
  std::uint32_t terminate(const os::Process& main) const;

  /// One pass of killing: freeze, cgroup.kill, KILL through a pidfd for what is still listed.
  /// Repeat until empty(). @p first: of this end of the tree.
  void kill_pass(bool first) const;

  /// Takes the count of members and the TCP ports they listen on, for the receipt; at most @p most
  /// processes are asked for their sockets: where there are more, or more listeners on this machine
  /// than can be kept, ports->dropped() is not 0.
  void note(std::uint32_t* members, InlineVec<std::uint16_t, 32>* ports, std::uint32_t most) const;

  /// Does a process of the tree listen on @p port? Nullopt when it cannot be seen.
  std::optional<bool> listens_on(std::uint16_t port) const;

  /// Who is left, for exit code 4.
  void name_survivors(InlineVec<Survivor, 16>* survivors) const;

  /// Removes the cgroup; call when empty.
  void remove();

 private:
  template <class Visit>
  void for_each(Visit&& visit) const;
  template <class Visit>
  static void for_each_descendant(Pid parent, Visit&& visit, int depth);
  template <class Visit>
  void for_each_inherited(Visit&& visit) const;

  os::Cgroup cgroup_;
  std::vector<ProcessId> seen_;
  std::vector<ProcessId> last_seen_;
  mutable std::vector<ProcessId> inherited_;  // grows by their children, up to its first capacity
};

}  // namespace gpuward::anchor
