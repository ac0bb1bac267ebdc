#pragma once

#include <cstdint>

#include "base/inline_vec.h"
#include "base/pid.h"
#include "domain/anchor_state.h"
#include "os/cgroup.h"
#include "os/process.h"

namespace gpuward::anchor {

/// The processes of one service: members of its cgroup and descendants of this anchor, which is the
/// subreaper of all of them. Only processes found to be one or the other *while held by a pidfd*
/// are ever signalled. Allocates nothing. One thread.
class Tree {
 public:
  Tree() = default;
  explicit Tree(os::Cgroup cgroup) : cgroup_(std::move(cgroup)) {}

  const os::Cgroup& cgroup() const { return cgroup_; }
  Containment level() const { return cgroup_ ? Containment::cgroup : Containment::subreaper; }

  /// Proof: the cgroup says "populated 0" and we have no child left. @p childless is the caller's
  /// ECHILD from waitid.
  bool empty(bool childless) const;

  /// Sends TERM once to every process; @p main first, so that it sees its children end knowing why.
  /// @return how many were signalled.
  std::uint32_t terminate(const os::Process& main) const;

  /// One pass of killing: freeze, cgroup.kill, KILL through a pidfd for what is still listed.
  /// Repeat until empty(). @p first: of this end of the tree.
  void kill_pass(bool first) const;

  /// Takes the count of members and the TCP ports they listen on, for the receipt; at most @p most
  /// processes are asked for their sockets.
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

  os::Cgroup cgroup_;
};

}  // namespace gpuward::anchor
