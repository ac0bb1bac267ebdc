#pragma once

#include <cstdint>
#include <string>

#include "anchor/engine_call.h"
#include "anchor/tree.h"
#include "base/inline_vec.h"
#include "base/units.h"
#include "domain/anchor_state.h"
#include "os/container.h"

namespace gpuward::anchor {

/// The container of a service whose command is `docker run` and the like: found by the id that the
/// client leaves, asked to end through its engine, killed where the engine does not, and proven
/// empty by the kernel. What is known of it stands in the anchor's state, for whoever takes over.
/// Non-blocking: the owner polls both descriptors, calls advance() on either and at next(). Never
/// touches a process that is not in the container while it is held by a pidfd. Allocates only when
/// made.
///
/// A container counts as empty here only if a process of it was seen here before, or it can run
/// nowhere else: the client may speak to another machine, or from within a container to its host.
class Container {
 public:
  Container() = default;
  /// @p plan and @p trace must outlive it. @p mount of cgroup2, empty without; likewise.
  Container(const ContainerPlan& plan, ContainerTrace& trace, const std::string& mount)
      : plan_(&plan), trace_(&trace), mount_(&mount), engine_(plan.sockets) {}

  bool held() const { return plan_ != nullptr && plan_->hold == ContainerHold::by_id; }
  /// Before main is started: an id file of our own that is left over is removed. Whose file stands
  /// there still is not waited for: it names another container.
  void begin(Instant now);
  /// Of a tree that was taken over.
  void resume(Instant now);

  int events_fd() const { return group_.events_fd(); }
  int engine_fd() const { return engine_.fd(); }
  short engine_events() const { return engine_.events(); }
  Instant next() const;
  /// True when more is known of it than before: the trace has changed.
  bool advance(Instant now);

  /// The tree is empty: is the container? Reads every process of the machine, asks the engine to
  /// end what nobody asked yet (its client is gone), and settles proof(). Ask again on events, at
  /// next() and after a pause. @p killing: the grace is over. @p client_ended_well: main said so.
  bool ended(bool killing, bool client_ended_well, Instant now);
  /// The grace is over: KILL through the engine; what it leaves is killed by kill_pass().
  void kill(Instant now);
  void kill_pass(Instant now);
  /// Are the client and the engine's monitor (podman's lives in the tree) to be spared yet? They
  /// note its end: killed before it they leave a container that their engine believes to run.
  bool comes_first(Instant now);

  ContainerProof proof() const { return held() ? proof_ : ContainerProof::not_judged; }
  /// Its processes, as far as they are not members of @p tree too: podman starts them below itself.
  std::uint32_t count_beside(const Tree& tree) const;
  void name_survivors(InlineVec<Survivor, 16>* survivors) const;
  /// It has ended: forgets it, and removes the file of its id, which would stop the next start.
  void forget();

 private:
  void look_soon(Instant now);
  bool look(Instant now);
  bool learn_id();
  bool see();
  void ask(std::string_view signal, Instant now);
  bool ended_unseen(bool killing, Instant now);

  const ContainerPlan* plan_ = nullptr;
  ContainerTrace* trace_ = nullptr;
  const std::string* mount_ = nullptr;
  os::ContainerGroup group_;
  EngineCall engine_;
  ContainerProof proof_ = ContainerProof::not_judged;
  Instant look_ = Instant::max();
  Duration look_pause_{};
  std::uint32_t looks_ = 0;  // for a process of it, without finding one
  bool asked_ = false;       // the engine, in this end of the tree
  bool answered_ = false;    // and it has, or it will not
  bool killing_ = false;
  Instant kill_ourselves_{};  // when the engine has had its time
  Instant others_by_{};       // when client and monitor have had theirs
  bool gone_ = false;         // no process of it was found, once it was to be killed
};

}  // namespace gpuward::anchor
