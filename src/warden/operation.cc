#include "warden/operation.h"

#include <algorithm>

namespace gpuward::warden {
namespace {

constexpr std::uint8_t kDone = 0;
constexpr std::uint8_t kRefused = 1;
constexpr std::uint8_t kTimedOut = 3;
constexpr std::uint8_t kNotProven = 4;

std::string sentence(const Reason& reason, const char* otherwise) {
  return reason.empty() ? otherwise : std::string(reason.view());
}

}  // namespace

void Operation::begin(Fleet& fleet) {
  for (const auto& name : services_) {
    const auto* member = fleet.find(name);
    if (member == nullptr) {
      outcomes_[name] = {name, kRefused, "no such service"};
      continue;
    }
    if (member->alive) generation_before_[name] = member->state.generation;
    receipt_before_[name] = member->state.receipt.at_unix_ms;
    Result<void> begun;
    switch (what_) {
      case What::start:
        begun = fleet.start(name);
        break;
      case What::restart:
        begun = fleet.restart(name);
        break;
      case What::stop:
      case What::down:
        begun = fleet.stop(name);
        break;
      case What::wait_autostart:
      case What::status:
        break;
    }
    if (!begun) outcomes_[name] = {name, kRefused, begun.error().message()};
  }
}

std::optional<ServiceOutcome> Operation::judge_start(const std::string& name,
                                                     const Fleet::Member& member) const {
  if (!member.trouble.empty()) return ServiceOutcome{name, kRefused, member.trouble};
  const auto& state = member.state;
  const auto before = generation_before_.find(name);
  const bool old = what_ == What::restart && before != generation_before_.end() &&
                   state.generation <= before->second;
  switch (state.phase) {
    case Phase::ready:
      if (old) return std::nullopt;
      return ServiceOutcome{name, kDone, sentence(state.reason, "ready")};
    case Phase::failed:
      return ServiceOutcome{name, kRefused, sentence(state.reason, "failed")};
    case Phase::stopped:
      return ServiceOutcome{name, kRefused, sentence(state.reason, "it was stopped")};
    case Phase::backing_off:
      return ServiceOutcome{name, kRefused, sentence(state.reason, "it failed")};
    case Phase::unkillable:
      return ServiceOutcome{name, kNotProven,
                            "processes of the old generation are left; a new one is not started"};
    default:
      return std::nullopt;
  }
}

std::optional<ServiceOutcome> Operation::judge_stop(const std::string& name,
                                                    const Fleet::Member& member) const {
  const auto& state = member.state;
  if (state.phase == Phase::unkillable)
    return ServiceOutcome{name, kNotProven, "processes are left"};
  if (member.alive) return std::nullopt;
  const bool over = state.phase == Phase::stopped || state.phase == Phase::failed;
  if (member.seen && !over && control::tree_lives(state))
    return ServiceOutcome{name, kNotProven, "its anchor died, and its processes live on unowned"};
  const bool ran = generation_before_.contains(name);
  if (!ran) return ServiceOutcome{name, kDone, "was not running"};
  const auto code = static_cast<std::uint8_t>(stop_exit_code(state, member.plan));
  return ServiceOutcome{name, code, code == 0 ? "stopped" : "not proven"};
}

bool Operation::done(const Fleet& fleet, Instant now) {
  for (const auto& name : services_) {
    if (outcomes_.contains(name)) continue;
    const auto at = fleet.members().find(name);
    if (at == fleet.members().end()) continue;
    const bool stopping = what_ == What::stop || what_ == What::down;
    auto outcome = stopping ? judge_stop(name, at->second) : judge_start(name, at->second);
    if (!outcome && now >= deadline_)
      outcome = ServiceOutcome{name, kTimedOut, "not done within the time given"};
    if (outcome) outcomes_[name] = std::move(*outcome);
  }
  return outcomes_.size() >= services_.size();
}

WardenAnswer Operation::answer(const Fleet& fleet) const {
  WardenAnswer answer;
  for (const auto& [name, outcome] : outcomes_) {
    answer.outcomes.push_back(outcome);
    answer.exit_code = std::max(answer.exit_code, outcome.exit_code);
    const auto at = fleet.members().find(name);
    if (at == fleet.members().end() || what_ == What::start || what_ == What::wait_autostart)
      continue;
    const Receipt& receipt = at->second.state.receipt;
    const auto before = receipt_before_.find(name);
    const bool fresh = before != receipt_before_.end() && receipt.at_unix_ms != before->second;
    if (fresh && receipt.generation != 0) answer.receipts.push_back({name, 0, receipt});
  }
  answer.status = fleet.report(services_);
  return answer;
}

}  // namespace gpuward::warden
