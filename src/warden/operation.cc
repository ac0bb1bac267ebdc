#include "warden/operation.h"

#include <algorithm>

#include "control/observe.h"
#include "domain/exit_code.h"
#include "os/process.h"

namespace gpuward::warden {
namespace {

std::string sentence(const Reason& reason, const char* otherwise) {
  return reason.empty() ? otherwise : std::string(reason.view());
}

}  // namespace

void Operation::begin(Fleet& fleet) {
  links_ = fleet.links();
  if (starts()) add_needed(fleet);
  services_ = in_start_order(links_, std::move(services_));
  if (stops()) std::ranges::reverse(services_);
  for (const auto& name : services_)
    if (const auto links = links_.find(name); links != links_.end())
      for (const auto& link : links->second) followers_[link.to].push_back(name);
  for (const auto& name : services_) {
    auto* member = fleet.find(name);
    if (member == nullptr) {
      outcomes_[name] = {name, kFailed, fleet.unknown(name)};
      continue;
    }
    receipt_before_[name] = member->state.receipt.at_unix_ms;
    if (!left_of_.empty()) refuse_if_alive(name, *member);
    if (what_ == What::stop) refuse_if_needed(fleet, name);
    if (outcomes_.contains(name)) continue;
    if (stops()) ++member->withdrawn;
    withdrawn_[name] = member->withdrawn;
    if (starts() || stops()) held_.insert(name);
  }
}

// Whoever ends what is left of a service must not stop one that was started in the meantime.
void Operation::refuse_if_alive(const std::string& name, const Fleet::Member& member) {
  const bool lives = os::lives(member.state.main);
  const bool led = member.alive || member.trouble.empty();  // it may just be revived
  if (is_left_over_of(member.state, left_of_, led, lives)) return;
  outcomes_[name] = {name, kFailed, "not stopped: it is not what was left over any more, it runs"};
}

Result<void> Operation::order(Fleet& fleet, const std::string& name, const Fleet::Member& member) {
  if (stops()) return order_stop(fleet, name, member);
  if (!of_the_warden_) return order_start(fleet, name, member);
  fleet.start_soon(name);
  return {};
}

Result<void> Operation::order_start(Fleet& fleet, const std::string& name,
                                    const Fleet::Member& member) {
  const AnchorState& state = member.state;
  if (restarts(name)) GPUWARD_TRY(fleet.may_restart(name));
  if (!member.alive) {
    orders_.erase(name);
    const bool unowned =
        member.seen && !is_over(state.phase) && control::tree_lives(member.folder, state);
    if (!unowned && member.model && !restarts(name)) {
      fleet.start_soon(name);
      return {};
    }
    auto started = fleet.start(name);
    if (!started || !unowned || !restarts(name)) return started;
  }
  Order order{member.connections, state.restart_orders, state.generation, state.tree_variable};
  order.after_end = state.stop_asked || is_over(state.phase);
  // Whoever starts what waits for its next try does not want to wait.
  const bool up = state.phase == Phase::starting || state.phase == Phase::ready;
  // Its end may not have been told yet.
  const bool down = !up || (state.main && !os::lives(state.main));
  order.restart = restarts(name) || down;
  // Its anchor would start the old version again: it ends for good, and a new one begins.
  if (restarts(name) && member.stale()) order.after_end = true;
  orders_[name] = order;
  if (member.stale() && restarts(name)) return fleet.stop(name);
  return order.restart && !order.after_end ? fleet.restart(name) : Result<void>{};
}

Result<void> Operation::order_stop(Fleet& fleet, const std::string& name,
                                   const Fleet::Member& member) {
  auto asked = fleet.stop(name);
  if (member.alive)
    orders_[name] = {member.connections, member.state.restart_orders, member.state.generation,
                     member.state.tree_variable};
  return asked;
}

bool Operation::heard(const Order& order, const AnchorState& state) const {
  return stops() ? state.stop_asked || is_over(state.phase)
                 : !order.restart || state.restart_orders > order.restart_orders;
}

// Gives the order once more where it was lost: its anchor died before it read it, or had already
// come to the end of its service.
Result<void> Operation::order_again(Fleet& fleet, const std::string& name,
                                    const Fleet::Member& member) {
  const auto at = orders_.find(name);
  if (at == orders_.end()) return {};
  Order& order = at->second;
  if (member.alive) {
    const bool other = member.connections != order.connection;
    if (!other || !member.heard) return {};
    order.connection = member.connections;
    if (stops() && !order.tree.empty() && order.tree != member.state.tree_variable) {
      outcomes_[name] = {name, kDone, "stopped, and started again by another order", false};
      return {};
    }
    if (order.after_end && !member.state.stop_asked && !is_over(member.state.phase)) {
      orders_.erase(at);  // it has ended, and somebody else's order has begun it anew
      return {};
    }
    if (order.after_end || heard(order, member.state)) return {};
    // Told again; what this anchor obeyed before is its own.
    order.restart_orders = member.state.restart_orders;
    order.generation = member.state.generation;
    return stops() ? fleet.stop(name) : fleet.restart(name);
  }
  const bool too_late = is_over(member.state.phase) && !heard(order, member.state);
  if (stops() || !(order.after_end || too_late)) return {};
  orders_.erase(at);
  // The receipt of this end goes with its anchor: the next one has none of it.
  unproven_[name] = why_not_proven(member.state, member.plan);
  return fleet.start(name);
}

std::optional<ServiceOutcome> Operation::judge_start(const std::string& name,
                                                     const Fleet::Member& member) const {
  if (!member.trouble.empty()) return ServiceOutcome{name, kFailed, member.trouble};
  const auto& state = member.state;
  const auto order = orders_.find(name);
  const bool ran = order != orders_.end();
  if (ran && state.phase != Phase::unkillable &&
      (order->second.after_end || !heard(order->second, state)))
    return std::nullopt;
  switch (state.phase) {
    case Phase::ready:
      if (ran && order->second.restart && state.generation <= order->second.generation)
        return std::nullopt;
      return judge_ready(name, member);
    case Phase::failed:
      return ServiceOutcome{name, kFailed, sentence(state.reason, "failed"),
                            state.generation != 0 && state.spawn_errno == 0};
    case Phase::stopped:
      return ServiceOutcome{name, kFailed, sentence(state.reason, "it was stopped")};
    case Phase::backing_off:
      return ServiceOutcome{name, kFailed, sentence(state.reason, "it failed"), true};
    case Phase::unkillable:
      return ServiceOutcome{name, kNotProven,
                            "processes of the old generation are left; a new one is not started"};
    default:
      return std::nullopt;
  }
}

// A restart is done and proven only if the end of the old generation is.
ServiceOutcome Operation::judge_ready(const std::string& name, const Fleet::Member& member) const {
  const AnchorState& state = member.state;
  const auto before = receipt_before_.find(name);
  const bool ended = before != receipt_before_.end() && before->second != state.receipt.at_unix_ms;
  const auto other = unproven_.find(name);
  const std::string why = other != unproven_.end() ? other->second
                          : ended                  ? std::string(why_not_proven(state, member.plan))
                                                   : "";
  if (restarts(name) && !why.empty())
    return {name, kNotProven, "ready, but the end of what ran before is not proven: " + why};
  if (member.stale())
    return {name, kDone,
            "ready; its process is of another version than the files say: gpuward restart " + name};
  return {name, kDone, sentence(state.reason, "ready")};
}

std::optional<ServiceOutcome> Operation::judge_stop(const Fleet& fleet, const std::string& name,
                                                    const Fleet::Member& member) const {
  const auto& state = member.state;
  if (state.phase == Phase::unkillable)
    return ServiceOutcome{name, kNotProven, "processes are left"};
  if (member.alive) return std::nullopt;
  if (member.seen && control::tree_lives(member.folder, state))
    return ServiceOutcome{name, kNotProven, "its anchor died, and its processes live on unowned"};
  const bool ran = orders_.contains(name);
  const auto lost = ran || member.seen ? std::nullopt : fleet.lost(member);
  if (lost) return ServiceOutcome{name, kNotProven, *lost};
  if (!ran && member.seen && state.receipt.only_seen)
    return ServiceOutcome{
        name, kNotProven,
        "was not running; of its last end: " + std::string(why_not_proven(state, member.plan))};
  if (member.end_unseen)
    return ServiceOutcome{name, kNotProven, "its anchor died before it could prove the end"};
  if (!ran) return ServiceOutcome{name, kDone, "was not running"};
  const auto code = static_cast<std::uint8_t>(stop_exit_code(state, member.plan));
  return ServiceOutcome{
      name, code,
      code == 0 ? "stopped" : "not proven: " + std::string(why_not_proven(state, member.plan))};
}

std::optional<ServiceOutcome> Operation::judge(const Fleet& fleet, const std::string& name,
                                               const Fleet::Member& member, Instant now) const {
  if (held_.contains(name)) return std::nullopt;
  if (stops()) return judge_stop(fleet, name, member);
  if (member.waits) return std::nullopt;
  if (member.silent(now)) return ServiceOutcome{name, kFailed, "its anchor does not answer"};
  if (!member.alive && !member.held_back.empty()) {  // held back by another operation
    if (!member.held_by_retry) return std::nullopt;
    return ServiceOutcome{name, kFailed, "not started yet: it " + member.held_back};
  }
  // Until its anchor is heard, what is known of it is its record.
  return !member.alive || member.heard ? judge_start(name, member) : std::nullopt;
}

ServiceOutcome Operation::too_late(const std::string& name, const Fleet::Member& member) const {
  const std::string late = "not done within the time given";
  if (!held_.contains(name)) return {name, kTimedOut, late, false};
  if (stops()) return {name, kTimedOut, late + ": what is stopped before it runs on", false};
  return {name, kTimedOut, "not started within the time given: it " + member.held_back, false};
}

bool Operation::done(Fleet& fleet, Instant now) {
  for (const auto& name : services_) {
    if (outcomes_.contains(name)) continue;
    auto* member = fleet.find(name);
    if (member == nullptr) {
      outcomes_[name] = {name, kFailed, "it is in no configuration file any more", false};
      continue;
    }
    if (held_.contains(name)) take_turn(fleet, name, *member, now);
    if (auto again = order_again(fleet, name, *member); !again)
      outcomes_[name] = {name, kFailed, again.error().message()};
    if (outcomes_.contains(name)) continue;
    auto outcome = judge(fleet, name, *member, now);
    if (!outcome && now >= deadline_) outcome = too_late(name, *member);
    if (outcome) outcomes_[name] = std::move(*outcome);
  }
  return std::ranges::all_of(services_, [&](const auto& name) { return outcomes_.contains(name); });
}

WardenAnswer Operation::answer(const Fleet& fleet) const {
  WardenAnswer answer;
  for (const auto& [name, outcome] : outcomes_) {
    answer.outcomes.push_back(outcome);
    answer.exit_code = std::max(answer.exit_code, outcome.exit_code);
    const auto at = fleet.members().find(name);
    if (at == fleet.members().end() || what_ == What::start || what_ == What::start_autostart ||
        what_ == What::wait_autostart)
      continue;
    const Receipt& receipt = at->second.state.receipt;
    const auto before = receipt_before_.find(name);
    const bool fresh = before != receipt_before_.end() && receipt.at_unix_ms != before->second;
    const bool stuck = at->second.state.phase == Phase::unkillable;  // the same end still
    if ((fresh || stuck) && receipt.generation != 0) answer.receipts.push_back({name, 0, receipt});
  }
  answer.status = fleet.report(services_, true);
  return answer;
}

}  // namespace gpuward::warden
