#pragma once

#include <cstdint>
#include <vector>

#include "anchor/release.h"
#include "base/inline_vec.h"
#include "base/pid.h"
#include "domain/anchor_state.h"
#include "os/cgroup.h"
#include "os/pid_namespace.h"
#include "os/process.h"

namespace gpuward::anchor {

/// The processes of one service: members of its cgroup and descendants of this anchor, which is the
/// subreaper of all of them. Only processes found to be one or the other *while held by a pidfd*
/// are ever signalled. One thread; allocates only when made.
///
/// Who is no member of a cgroup (there is none, or a root process has moved itself out) is known by
/// descent alone, so look() keeps a list of those for the record. An anchor that takes the tree
/// over inherits that list: they are not its descendants, and what they start comes to nobody when
/// its parent ends. They and their children are followed by (pid, start time).
class Tree {
 public:
  static constexpr std::size_t kMostSeen = 400;  ///< so that a record holds them beside its plan

  Tree() = default;
  /// A new one. @p cgroup may be empty: then it is held by descent alone.
  static Tree fresh(os::Cgroup cgroup);
  /// Some of it will be handed over by hand_over(): to be called once, before it begins.
  void prepare_to_hand_over() { handed_over_ = HandedOver::fresh(cgroup_); }
  /// That of a dead anchor, which had left the list @p inherited and had handed @p over.
  /// Who carries @p variable in its environment was started by it and belongs to it too, wherever
  /// it has gone since: a random one, that nobody has by chance.
  /// @p marked: who did a moment ago, at or after the death of its last anchor; null: nobody has
  /// looked.
  static Tree taken_over(os::Cgroup cgroup, const std::vector<ProcessId>& inherited,
                         std::string_view variable, HandedOver over = {},
                         const std::vector<ProcessId>* marked = nullptr);

  const os::Cgroup& cgroup() const { return cgroup_; }
  /// From now on the tree lives in @p space too. The namespace's first process belongs to nobody's
  /// tree: it is neither counted nor sent TERM, and it ends last.
  void hold(os::PidNamespace space) { space_ = std::move(space); }
  const os::PidNamespace& space() const { return space_; }
  void settle_space() { space_.settle(); }
  /// Ends the namespace when nobody is left in it. @return whether it did: its end is yet to come.
  bool close_space() const;
  /// Must the owner ask whether it has ended, because nothing will tell?
  bool silent() const {
    return cgroup_.kind() == os::CgroupKind::v1_freezer || handed_over_.lists_any() ||
           (taken_over_ && !inherited_.empty()) || (!cgroup_ && (taken_over_ || space_));
  }

  /// Lists who belongs to it without being a member of its cgroup. @return whether that has
  /// changed.
  bool look();
  /// The list of the last look(), at most kMostSeen.
  const std::vector<ProcessId>& seen() const { return seen_; }

  /// Hands over, before the ladder begins, who matches one of @p patterns and is not @p main, with
  /// everything below it: from here on they are not of the tree. Lists them in @p told.
  void hand_over(const std::vector<std::string>& patterns, const os::Process& main, HandOver* told);
  const HandedOver& handed_over() const { return handed_over_; }
  /// A new generation has begun with @p main.
  void begun(Pid main) { handed_over_.set_main(main); }

  /// Lists all of it, which somebody else will lead, and forgets it.
  void give_up(HandOver* told);
  /// And moves it out of its cgroup, so that this can be removed.
  Result<void> let_go();
  /// Calls @p visit(Pid) for each member of its cgroup.
  template <class Visit>
  void for_each_pid(Visit&& visit) const {
    if (cgroup_) (void)cgroup_.for_each_member([&](Pid pid) { visit(pid); });
  }

  /// Of a tree that was taken over: looks for those who carry its variable. Reads every process of
  /// this machine: for its beginning and its end. @return whether there are any.
  bool find_marked() const;

  /// Of a tree that was taken over: is somebody in no cgroup of ours? What such a one starts comes
  /// to nobody, and can be lost.
  bool has_strays() const { return !inherited_.empty(); }

  /// Somebody removed the cgroup: stops watching it, so that poll is quiet.
  void forget_if_gone();
  /// Makes the cgroup anew if somebody removed it. Call between two generations only.
  Result<void> renew();

  /// Proof: the cgroup says "populated 0" and we have no child left. @p childless is the caller's
  /// ECHILD from waitid. And nothing inherited lives. While some that were handed over are our
  /// children there is no ECHILD: then each child is asked whether it is one of those.
  bool empty(bool childless) const;
  /// Lets what comes into its cgroup next run: kill_pass() leaves it frozen where the kernel kills.
  void thaw() const;
  /// Is there a process in its cgroup? False without one.
  bool holds_some() const { return cgroup_ && cgroup_.populated().value_or(false); }

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

  /// Is @p pid one of the tree now: by its cgroup or by descent?
  bool contains(Pid pid) const;

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
  void for_each_outside(Visit&& visit) const;
  template <class Visit>
  void for_each_descendant(Visit&& visit) const;
  template <class Visit>
  void for_each_inherited(Visit&& visit) const;
  void chase() const;
  void inherit_strays_of(const os::Process& member) const;
  void inherit(const os::Process& process) const;
  bool inherit_if_marked(const os::Process& process) const;
  bool inherit_marked(const std::vector<ProcessId>& marked) const;
  bool only_handed_over_below() const;

  os::Cgroup cgroup_;
  os::PidNamespace space_;
  bool taken_over_ = false;
  Text<48> variable_;
  HandedOver handed_over_;
  std::vector<ProcessId> seen_;
  std::vector<ProcessId> last_seen_;
  mutable std::vector<ProcessId> walked_;     // of one walk; room for kMostWalked
  mutable std::vector<ProcessId> inherited_;  // grows by their children, up to its first capacity
};

}  // namespace gpuward::anchor
