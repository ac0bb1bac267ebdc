#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/messages.h"
#include "domain/order.h"
#include "warden/fleet.h"

namespace gpuward::warden {

/// One request of the CLI that takes time: it is begun once, then asked after every change whether
/// it is done. Each service comes to its turn by `after` and `requires`: starts go along these
/// links, stops against them. Facts only from the fleet; time is an argument.
class Operation {
 public:
  using What = WardenRequest::What;
  /// @p anyway: also onto cards that are out of use.
  Operation(What what, std::vector<std::string> services, Instant deadline, bool anyway = false)
      : what_(what), services_(std::move(services)), deadline_(deadline), anyway_(anyway) {}
  /// What the warden itself starts: what runs is left as it is, and there is no deadline.
  static Operation of_the_warden(std::vector<std::string> services);

  /// Of a stop, before begin(): see WardenRequest::left_of.
  void only_what_is_left_of(std::string tree) { left_of_ = std::move(tree); }

  void begin(Fleet& fleet);
  /// Is every service where the request wants it, or can it not get there, or is it too late?
  bool done(Fleet& fleet, Instant now);
  WardenAnswer answer(const Fleet& fleet) const;
  /// Is one of its services about to be started, as soon as Fleet::start_soon() comes to it?
  bool waits_for_turn(const Fleet& fleet) const;
  /// Of those services that are there already, or cannot get there.
  const std::map<std::string, ServiceOutcome>& outcomes() const { return outcomes_; }
  Instant deadline() const { return deadline_; }

 private:
  // What was ordered of a service that had an anchor when the order was given. Its news may be
  // older than the order, and the anchor may die before it reads it.
  struct Order {
    std::uint32_t connection = 0;      // over which it was sent
    std::uint32_t restart_orders = 0;  // that the anchor had obeyed before
    std::uint32_t generation = 0;
    Text<48> tree{};         // AnchorState::tree_variable: another one is another tree
    bool restart = false;    // the anchor was asked to restart
    bool after_end = false;  // its tree was ending for good: started anew when that is over
  };

  bool starts() const;
  bool stops() const { return what_ == What::stop || what_ == What::down; }
  bool restarts(const std::string& name) const {
    return what_ == What::restart && !added_.contains(name);
  }
  void add_needed(const Fleet& fleet);
  void refuse_if_alive(const std::string& name, const Fleet::Member& member);
  void refuse_if_needed(const Fleet& fleet, const std::string& name);
  Standing standing(const Fleet& fleet, const std::string& name, Instant now) const;
  bool is_up(const Fleet::Member& member) const;
  bool may_stop(const Fleet& fleet, const std::string& name, Instant now) const;
  Gate gate(const Fleet& fleet, const std::string& name, const Fleet::Member& member,
            Instant now) const;
  void take_turn(Fleet& fleet, const std::string& name, Fleet::Member& member, Instant now);
  bool refuse_for_card(const Fleet& fleet, const std::string& name, Fleet::Member& member);
  void refuse_start(const std::string& name, Fleet::Member& member, const Fleet& fleet,
                    const Gate& gate);
  Result<void> order(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  Result<void> order_start(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  Result<void> order_stop(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  Result<void> order_again(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  bool heard(const Order& order, const AnchorState& state) const;
  std::optional<ServiceOutcome> judge(const Fleet& fleet, const std::string& name,
                                      const Fleet::Member& member, Instant now) const;
  std::optional<ServiceOutcome> judge_start(const std::string& name,
                                            const Fleet::Member& member) const;
  ServiceOutcome judge_ready(const std::string& name, const Fleet::Member& member) const;
  std::optional<ServiceOutcome> judge_stop(const Fleet& fleet, const std::string& name,
                                           const Fleet::Member& member) const;
  ServiceOutcome too_late(const std::string& name, const Fleet::Member& member) const;

  What what_;
  std::vector<std::string> services_;  // once it has begun: in the order of their turns
  Instant deadline_;
  bool anyway_ = false;
  bool of_the_warden_ = false;
  std::string left_of_;
  StartLinks links_;                                           // as they were when it began
  std::map<std::string, std::vector<std::string>> followers_;  // who starts after it, of ours
  std::set<std::string> added_;  // required by those that were named, and not up yet
  std::set<std::string> held_;   // whose turn has not come
  std::map<std::string, std::uint32_t> withdrawn_;  // Member::withdrawn when it began
  std::map<std::string, ServiceOutcome> outcomes_;
  std::map<std::string, Order> orders_;          // of those that had an anchor
  std::map<std::string, std::string> unproven_;  // of an end that this waited for; empty: proven
  std::map<std::string, std::int64_t>
      receipt_before_;  // at_unix_ms: an older one is not this stop's
};

}  // namespace gpuward::warden
