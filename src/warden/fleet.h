#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/anchors.h"
#include "control/messages.h"
#include "control/observe.h"
#include "domain/change.h"
#include "domain/memory_proof.h"
#include "domain/order.h"
#include "domain/report.h"
#include "domain/service.h"
#include "warden/clerk.h"
#include "warden/link.h"

namespace gpuward::warden {

/// Every service that is configured or was found running, and the anchors that lead them. The fleet
/// owns none of their processes: losing it loses nothing. Loop thread only.
class Fleet {
 public:
  static constexpr auto kFirstWordWithin = std::chrono::seconds(2);
  static constexpr auto kAdoptAgain = std::chrono::milliseconds(1000);

  /// One service: what was written about it, and what its anchor last said.
  struct Member {
    std::optional<ServiceModel> model;  ///< absent: found running, started by `gpuward run`
    control::AnchorFolder folder;
    LaunchPlan plan;
    AnchorState state;
    bool seen = false;      ///< `state` is from an anchor or its record
    bool alive = false;     ///< an anchor is connected
    std::string trouble;    ///< why the last start did not even reach an anchor
    MemoryWitness witness;  ///< of `witnessed`, a generation of main
    std::uint32_t witnessed = 0;
    std::set<std::string> cards;   ///< uuids, that `witnessed` held memory of or had a context on
    std::set<std::uint32_t> pids;  ///< of its tree at the last look, where anyone was on a card
    Bytes told_held;               ///< what the anchor was told last
    std::shared_ptr<Link> link;
    std::uint32_t connections = 0;  ///< so far: an order sent over an earlier one may be lost
    Instant connected{};            ///< when the connection was made
    bool heard = false;             ///< has the anchor of this connection said its state
    bool waits = false;             ///< for its turn to be started
    bool coming_up = false;         ///< it was started, and its anchor has not spoken yet
    bool adopting = false;          ///< it was started to take a tree over and has not spoken yet
    bool told_to_stop = false;  ///< since it was last told to run: whatever becomes of its anchor
    std::string held_back;  ///< "waits for db": an operation holds its start back; empty: none does
    bool held_by_retry = false;    ///< what it waits for has failed, and is tried again
    std::uint32_t withdrawn = 0;   ///< orders to stop so far: a start held back before is off
    bool end_unseen = false;       ///< its anchor died before it could prove that end
    std::vector<Instant> revived;  ///< when it was started again because its anchor had gone

    /// Is its process made of another version than the one configured now?
    bool stale() const { return model && is_older_than(*model); }
    bool is_older_than(const ServiceModel& service) const {
      return alive && plan.mark != 0 && plan.mark != process_mark(service);
    }
    /// Connected, and has said nothing for longer than an anchor needs.
    bool silent(Instant now) const { return alive && !heard && now - connected > kFirstWordWithin; }
  };

  Fleet(asio::io_context& loop, control::Home home, Clerk& clerk)
      : loop_(loop), home_(std::move(home)), clerk_(clerk), retry_(loop) {}

  /// Called after every change of any member.
  void on_change(std::function<void()> handler) { on_change_ = std::move(handler); }

  /// Called when the first memory of a generation is seen on a further card.
  void on_cards(std::function<void(const Member&)> handler) { on_cards_ = std::move(handler); }
  /// Asked before anything is started or restarted: why not; none: nothing speaks against it.
  void ask_before_start(std::function<std::optional<std::string>(const Member&)> ask) {
    why_not_started_ = std::move(ask);
  }
  std::optional<std::string> why_not_started(const Member& member) const {
    return why_not_started_ ? why_not_started_(member) : std::nullopt;
  }

  /// Asked before a running service is stopped or restarted by order, until it says yes: no job of
  /// it is at work any more, or it has waited long enough. on_change follows its change of mind.
  void ask_before_end(std::function<bool(const Member&)> ask) { may_end_ = std::move(ask); }
  bool may_end(const Member& member) const { return !may_end_ || may_end_(member); }

  void configure(std::vector<ServiceModel> services);
  /// What configure_again(@p services) would change, service by service.
  std::vector<ServiceChange> compare_with(const std::vector<ServiceModel>& services) const;
  /// Takes @p services for those configured from now on: what may change live changes, what needs a
  /// new process waits for one, what is written no more runs on, unconfigured.
  void configure_again(std::vector<ServiceModel> services);
  /// Connects to every living anchor below the run folder, and remembers the dead ones' records.
  Result<void> adopt_all();

  /// Connects to the anchors that came without us, by `gpuward run --detach`, since the last look.
  Result<void> find_newcomers();

  const std::map<std::string, Member>& members() const { return members_; }
  Member* find(const std::string& name);
  const Member* find_member(const std::string& name) const {
    const auto at = members_.find(name);
    return at == members_.end() ? nullptr : &at->second;
  }
  /// What to say of a @p name that there is not: with the nearest, or how a new one is taken over.
  std::string unknown(const std::string& name) const;
  /// Why nobody can lead what may live of @p member: its record is lost. Asked anew each time.
  std::optional<std::string> lost(const Member& member) const;

  /// What starts after what, by the configuration of now.
  StartLinks links() const;
  /// Before the operations are asked again: each says anew what it holds back.
  void forget_held_back();

  /// Starts @p name unless it runs already. Errors are also kept in Member::trouble.
  Result<void> start(const std::string& name);
  /// The same, as soon as not too many anchors are just coming up: a thousand at once would take
  /// the processor from each other, and none would answer in time.
  void start_soon(const std::string& name);
  Result<void> stop(const std::string& name);
  /// Also refused by may_restart().
  Result<void> restart(const std::string& name);
  /// Would it come back? A tree that holds GPU memory would not after the driver was changed
  /// underneath: what runs goes on, and a new process finds no driver. Errc::refused says so.
  Result<void> may_restart(const std::string& name) const;

  /// @p brief: without lists of processes.
  StatusReport report(const std::vector<std::string>& names, bool brief) const;

  /// The latest look at the cards, for reports and proofs of memory.
  void set_gpu(GpuSnapshot snapshot);
  const GpuSnapshot& gpu() const { return gpu_; }
  /// Does anything of any service live, led or not, or can that not be known?
  bool anything_lives() const;
  /// Does an anchor wait for its tree's memory to come back? Then look again soon.
  bool waits_for_memory() const;

 private:
  void watch(Member& member, control::Channel channel);
  void on_body(const std::string& name, const wire::Body& body);
  void on_gone(const std::string& name);
  /// Connects to the anchor of @p member, or starts one for the living tree of a dead one. Where
  /// that fails, Member::trouble says why, and it is tried again. Never waits.
  void take_over(Member& member);
  void end_with_its_anchor(const Member& member);
  void look_for_marks();
  bool tree_lives(const Member& member) const;
  /// It lives, and no anchor leads it.
  bool unowned(const Member& member) const;
  void adoption_failed(Member& member, const std::string& why);
  bool connect(Member& member);
  void adopt_again_later();
  void revive_if_gone(Member& member);
  void answer_memory(Member& member);
  void witness(Member& member);
  void note_cards(Member& member, const std::set<std::uint32_t>& pids);
  void changed();
  void start_waiting();
  void come_up(Member& member, bool begins);
  Result<void> request(const std::string& name, AnchorRequest::What what);

  asio::io_context& loop_;
  control::Home home_;
  Clerk& clerk_;
  std::map<std::string, Member> members_;
  GpuSnapshot gpu_;
  control::HomeGroups groups_;         ///< for many starts at once
  control::MarkedProcesses marks_;     ///< likewise, and for many adoptions
  Instant gone_{Duration::min() / 2};  ///< when an anchor last died
  std::uint32_t gone_lately_ = 0;      ///< within moments of each other
  std::deque<std::string> waiting_;    ///< by start_soon(); those with Member::waits
  std::size_t coming_up_ = 0;          ///< members with Member::coming_up
  bool starts_soon_ = false;
  std::function<void()> on_change_;
  std::function<void(const Member&)> on_cards_;
  std::function<std::optional<std::string>(const Member&)> why_not_started_;
  std::function<bool(const Member&)> may_end_;
  asio::steady_timer retry_;  ///< of adoptions that failed
  std::chrono::milliseconds retry_pause_ = kAdoptAgain;
};

}  // namespace gpuward::warden
