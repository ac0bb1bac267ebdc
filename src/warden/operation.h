#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/messages.h"
#include "warden/fleet.h"

namespace gpuward::warden {

/// One request of the CLI that takes time: it is begun once, then asked after every change whether
/// it is done. Facts only from the fleet; time is an argument.
class Operation {
 public:
  using What = WardenRequest::What;
  Operation(What what, std::vector<std::string> services, Instant deadline)
      : what_(what), services_(std::move(services)), deadline_(deadline) {}

  void begin(Fleet& fleet);
  /// Is every service where the request wants it, or can it not get there, or is it too late?
  bool done(Fleet& fleet, Instant now);
  WardenAnswer answer(const Fleet& fleet) const;
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

  Result<void> order_start(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  Result<void> order_stop(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  Result<void> order_again(Fleet& fleet, const std::string& name, const Fleet::Member& member);
  bool heard(const Order& order, const AnchorState& state) const;
  std::optional<ServiceOutcome> judge_start(const std::string& name,
                                            const Fleet::Member& member) const;
  ServiceOutcome judge_ready(const std::string& name, const Fleet::Member& member) const;
  std::optional<ServiceOutcome> judge_stop(const Fleet& fleet, const std::string& name,
                                           const Fleet::Member& member) const;

  What what_;
  std::vector<std::string> services_;
  Instant deadline_;
  std::map<std::string, ServiceOutcome> outcomes_;
  std::map<std::string, Order> orders_;          // of those that had an anchor
  std::map<std::string, std::string> unproven_;  // of an end that this waited for; empty: proven
  std::map<std::string, std::int64_t>
      receipt_before_;  // at_unix_ms: an older one is not this stop's
};

}  // namespace gpuward::warden
