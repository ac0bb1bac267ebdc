// The part of an operation that says whose turn it is: `after` and `requires`.

#include <algorithm>

#include "control/observe.h"
#include "domain/exit_code.h"
#include "warden/operation.h"

namespace gpuward::warden {
namespace {

bool lives(const Fleet::Member& member) {
  if (member.alive) return !is_over(member.state.phase) && !member.state.stop_asked;
  return member.seen && control::tree_lives(member.folder, member.state);
}

}  // namespace

Operation Operation::of_the_warden(std::vector<std::string> services) {
  Operation operation(What::start, std::move(services), Instant::max());
  operation.of_the_warden_ = true;
  return operation;
}

bool Operation::waits_for_turn(const Fleet& fleet) const {
  return std::ranges::any_of(services_, [&](const auto& name) {
    const auto* member = fleet.find_member(name);
    return member != nullptr && member->waits;
  });
}

bool Operation::starts() const {
  return what_ == What::start || what_ == What::start_autostart || what_ == What::restart;
}

// Is there nothing to start? The warden, unlike people, does not hurry what waits for its next try.
bool Operation::is_up(const Fleet::Member& member) const {
  if (!member.alive || is_over(member.state.phase)) return false;
  return of_the_warden_ || (!member.state.stop_asked && (member.state.phase == Phase::ready ||
                                                         member.state.phase == Phase::starting));
}

// What is required starts too, and what it requires in turn.
void Operation::add_needed(const Fleet& fleet) {
  const std::set<std::string> named(services_.begin(), services_.end());
  for (const auto& name : with_needed(links_, services_)) {
    if (named.contains(name)) continue;
    const auto at = fleet.members().find(name);
    if (at == fleet.members().end() || is_up(at->second)) continue;
    added_.insert(name);
    services_.push_back(name);
  }
}

// Nothing is taken away from under what runs on it: whoever wants that names both.
void Operation::refuse_if_needed(const Fleet& fleet, const std::string& name) {
  std::vector<std::string> living;
  for (const auto& other : who_needs(links_, name)) {
    const auto at = fleet.members().find(other);
    const bool named = std::ranges::find(services_, other) != services_.end();
    if (!named && at != fleet.members().end() && lives(at->second)) living.push_back(other);
  }
  if (!living.empty()) outcomes_[name] = {name, kFailed, not_stopped_text(name, living), false};
}

Standing Operation::standing(const Fleet& fleet, const std::string& name, Instant now) const {
  const auto at = fleet.members().find(name);
  if (at == fleet.members().end()) return Standing::absent;
  const Fleet::Member& member = at->second;
  const bool ours = receipt_before_.contains(name);
  if ((ours && !outcomes_.contains(name)) || !member.held_back.empty() || member.waits)
    return Standing::coming;
  if (!member.alive)
    return !member.trouble.empty() || member.state.phase == Phase::failed ? Standing::failed
                                                                          : Standing::absent;
  if (member.silent(now)) return Standing::failed;
  if (member.state.stop_asked) return Standing::absent;
  switch (member.state.phase) {
    case Phase::ready:
      return Standing::ready;
    case Phase::backing_off:
      return Standing::retried;
    case Phase::failed:
    case Phase::unkillable:
      return Standing::failed;
    case Phase::stopped:
      return Standing::absent;
    default:
      return Standing::coming;
  }
}

Gate Operation::gate(const Fleet& fleet, const std::string& name, const Fleet::Member& member,
                     Instant now) const {
  const auto links = links_.find(name);
  if (links == links_.end() || (!restarts(name) && is_up(member))) return {};
  return gate_of(links->second,
                 [&](const std::string& other) { return standing(fleet, other, now); });
}

// Those that start after it have ended, or their anchor does not even answer.
bool Operation::may_stop(const Fleet& fleet, const std::string& name, Instant now) const {
  const auto followers = followers_.find(name);
  if (followers == followers_.end()) return true;
  return std::ranges::all_of(followers->second, [&](const auto& other) {
    const auto at = fleet.members().find(other);
    return outcomes_.contains(other) || at == fleet.members().end() || at->second.silent(now);
  });
}

void Operation::take_turn(Fleet& fleet, const std::string& name, Fleet::Member& member,
                          Instant now) {
  if (stops() && !may_stop(fleet, name, now)) return;
  if ((stops() || restarts(name)) && !fleet.may_end(member)) return;  // its jobs are finished first
  if (starts()) {
    if (member.withdrawn != withdrawn_[name]) {
      held_.erase(name);
      outcomes_[name] = {name, kFailed, "not started: it was stopped by another order", false};
      return;
    }
    const Gate gate = this->gate(fleet, name, member, now);
    if (gate.way == Gate::Way::closed) return refuse_start(name, member, fleet, gate);
    if (gate.way == Gate::Way::wait) {
      member.held_back = gate.text;
      member.held_by_retry = gate.only_retried;
      return;
    }
    if (refuse_for_card(fleet, name, member)) return;
  }
  held_.erase(name);
  if (auto begun = order(fleet, name, member); !begun)
    outcomes_[name] = {name, kFailed, begun.error().message(), false};
}

// Nothing comes by itself, or by an old habit, onto a card that somebody wants to be free.
bool Operation::refuse_for_card(const Fleet& fleet, const std::string& name,
                                Fleet::Member& member) {
  if (anyway_ || (!restarts(name) && is_up(member))) return false;
  const auto why = fleet.why_not_started(member);
  if (!why) return false;
  const std::string text =
      (restarts(name) && member.alive ? "not restarted: " : "not started: ") + *why;
  held_.erase(name);
  if (!member.alive) member.trouble = text;
  outcomes_[name] = {name, kFailed, text, false};
  return true;
}

void Operation::refuse_start(const std::string& name, Fleet::Member& member, const Fleet& fleet,
                             const Gate& gate) {
  std::string text = (restarts(name) && member.alive ? "not restarted: " : "not started: ");
  text += gate.text;
  const auto at = fleet.members().find(gate.blocker);
  if (at != fleet.members().end()) {
    const auto& reason = at->second.state.reason;
    if (!at->second.alive && !at->second.trouble.empty())
      text += ": " + at->second.trouble;
    else if (!reason.empty())
      text += ": " + std::string(reason.view());
  }
  held_.erase(name);
  if (!member.alive) member.trouble = text;
  outcomes_[name] = {name, kFailed, std::move(text), false};
}

}  // namespace gpuward::warden
