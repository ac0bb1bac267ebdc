#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anchor/clients.h"
#include "anchor/container.h"
#include "anchor/journal.h"
#include "anchor/kept_sockets.h"
#include "anchor/limits.h"
#include "anchor/log_pump.h"
#include "anchor/notify.h"
#include "anchor/probe.h"
#include "anchor/tree.h"
#include "anchor/watch.h"
#include "control/messages.h"
#include "domain/lifecycle.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/folder_sweep.h"
#include "os/process.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace gpuward::anchor {

/// A complete supervisor of one process tree: starts it, learns that it is ready, restarts it by
/// policy, ends it with proof, carries its output, and tells whoever asks. It depends on nobody:
/// the warden may die. One thread, one poll loop, no allocation once run() has begun.
class Anchor {
 public:
  /// Prepares everything that can fail. @p dir is the anchor's own folder, locked by this process;
  /// @p launcher the connected socket of whoever started us.
  static Result<Anchor> prepare(LaunchOrder order, os::Fd dir, os::Fd lock, os::Fd launcher);
  /// Takes over the tree of a dead anchor from its record in @p dir: at level `cgroup` whole, at
  /// level `subreaper` those processes that its anchor had seen, and their children. Errors:
  /// Errc::not_found when nothing of it lives, Errc::refused after a reboot.
  /// Of @p order only what was looked for is used.
  static Result<Anchor> adopt(const LaunchOrder& order, os::Fd dir, os::Fd lock, os::Fd launcher);
  /// Leads the tree until it is over. @return the exit code of the anchor: 0.
  int run();

 private:
  Anchor() = default;

  // @p last: what the dead anchor of a living tree left; null for a new one.
  static Result<Anchor> prepare_common(LaunchPlan plan, os::Fd dir, os::Fd lock, os::Fd launcher,
                                       const AnchorState* last);
  Result<void> open_doors();
  void settle_rights();
  Result<void> make_surroundings();

  // The loop.
  void wait();
  void carry_output();
  void reap();
  void check_exec_report();
  void resume();
  void check_adopted_main();
  void forget_main();
  void check_probe();
  void check_life();
  void check_log();
  void hear();
  void become_ready(std::string_view evidence);
  void check_empty();
  void check_container();
  void check_deadline();
  void look_around(Instant now);
  Instant next_wake() const;

  // Events into the life cycle, actions out of it.
  void happen(const life::Event& event);
  void perform(life::Action action);
  void spawn();
  void spawn_failed(const os::SpawnFailure& failure);
  bool may_clear_temp_folder() const;
  void clear_temp_folder();
  Result<void> make_temp_folder_empty();
  void remove_temp_folder();
  void sweep_aside();
  void age_temp_folder();
  void settle_temp_age(Instant now);
  void sweep_temp_folder();
  Result<void> keep_temp_folder();
  void note_tree();
  void hand_over();
  void let_out_of_limits(Pid pid) const;
  void give_up();
  void let_go();
  void prepare_reader();
  void prove_memory();
  Duration memory_patience() const;
  void await_memory(Instant now);
  void write_receipt();
  void name_survivors();
  void finish();
  void answer(const AnchorRequest& request, std::size_t client);
  void take_settings(const LiveSettings& settings);

  // What others see.
  void describe();
  void publish();
  Result<void> write_record();
  void update_record();
  void note_failure(std::string_view what, const Error& error);

  // What the journal is told.
  void note_event(JournalEntry& entry);
  void note_event(EventKind kind, std::string_view evidence = {},
                  const std::optional<Actor>& actor = {});
  void note_beginning();
  void note_intent(life::Action action);
  void note_phase(Phase before, Phase now);
  void note_alarm();
  void note_loss();
  void note_aged(const os::FolderSweep::Tally& tally);
  void note_released(const HandOver& released);
  void note_order(EventKind kind, const os::Peer& who);
  void note_order(EventKind kind, const os::Fd& socket);

  LaunchPlan plan_;
  LifePolicy policy_;
  Life life_;
  AnchorState state_;
  bool ever_restored_ = false;
  Text<40> boot_id_;

  os::Fd dir_;
  os::Fd lock_;
  Journal journal_;
  std::optional<Actor> launched_by_;
  os::Fd listener_;
  os::Fd signals_;
  Tree tree_;
  Limits limits_of_tree_;
  std::unique_ptr<os::FolderSweep> sweep_;  ///< of its temp folder, if it has one: at work or not
  bool sweeps_aside_ = false;               ///< it empties what earlier generations left
  Instant age_at_ = os::kNever;  ///< when the temp folder is looked through for unused files
  LogPump log_;
  Probe probe_;
  Watch watch_;
  Container container_;
  std::string cgroup2_mount_;
  NotifySocket notify_;
  Clients clients_;

  os::Process main_;
  Pid last_main_;
  os::Fd exec_report_;
  bool adopted_ = false;  // main is not our child: its pidfd tells of its end, nothing of how
  bool childless_ = true;
  bool over_ = false;
  bool killing_ = false;
  os::Fd reader_gate_;        ///< its end lets the reader of what lives on begin
  bool given_up_ = false;     ///< somebody else leads the tree: nothing of it is ended or removed
  std::uint32_t reaped_ = 0;  ///< since the last recheck
  Instant named_by_{};        ///< no later than this, a kill names what is left
  Instant recheck_ = os::kNever;  // next kill pass or check for emptiness
  Duration recheck_pause_{};
  Instant look_ = os::kNever;  // when the tree is listed again; only where nothing else holds it
  Instant looked_{};
  std::uint64_t lost_before_ = 0;  // bytes of output, by earlier anchors of this tree
  Text<40> unanswered_;            // what the last question met, when it was not ready in time
  Instant runs_by_ = os::kNever;   // when it has run long enough to be ready
  Instant listen_again_{};         // when descriptors were short
  Duration look_pause_{};
  bool stirred_ = false;            // the service did something since the last look
  Instant memory_by_ = os::kNever;  // when nobody is left to answer for GPU memory
  Instant ending_began_{};
  Instant killed_{};  // when KILL was first sent to what is ending
  Instant named_{};   // when those that it does not end were last named

  std::vector<os::ResourceLimit> limits_;
  os::Rights rights_;
  std::vector<const char*> argv_;
  std::vector<std::string> env_text_;
  KeptSockets sockets_;
  std::vector<const char*> envp_;
};

}  // namespace gpuward::anchor
