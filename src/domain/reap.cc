#include "domain/reap.h"

#include <algorithm>

namespace gpuward {
namespace {

std::vector<HolderReport> by_process(const std::vector<HolderReport>& holders) {
  std::vector<HolderReport> merged;
  for (const auto& holder : holders) {
    const auto at = std::ranges::find_if(merged, [&](const HolderReport& one) {
      return one.id == holder.id && one.verdict != HolderVerdict::cannot_see &&
             holder.verdict != HolderVerdict::cannot_see;
    });
    if (at == merged.end()) {
      merged.push_back(holder);
      continue;
    }
    if (holder.memory) at->memory = at->memory.value_or(Bytes{}) + *holder.memory;
    if (at->refused.empty()) at->refused = holder.refused;
  }
  return merged;
}

bool is_named(const HolderReport& holder, const ReapOrder& order) {
  if (holder.verdict == HolderVerdict::cannot_see) return false;  // the number is somebody else's
  if (std::ranges::find(order.pids, holder.id.pid) != order.pids.end()) return true;
  // What is of nobody's service any more is not meant by its name.
  if (holder.verdict == HolderVerdict::stranger) return false;
  return std::ranges::find(order.services, holder.service) != order.services.end();
}

bool is_orphan(const ReapItem& item) {
  return item.holder.verdict == HolderVerdict::orphan;
}

std::string pid_of(const ReapItem& item) {
  return "pid " + std::to_string(item.holder.id.pid.number);
}

// What is left of a service is ended as `stop` ends it, in one: what holds for one of them holds
// for all, and so does what is asked of one.
void decide_orphans(std::vector<ReapItem>& items) {
  for (ReapItem& item : items) {
    if (!is_orphan(item)) continue;
    const ReapItem* runs = nullptr;
    const ReapItem* stays = nullptr;
    const ReapItem* named = nullptr;
    for (const ReapItem& other : items) {
      if (&other == &item || other.holder.service != item.holder.service) continue;
      const auto verdict = other.holder.verdict;
      if (verdict == HolderVerdict::owned || verdict == HolderVerdict::idle_holder) runs = &other;
      if (!is_orphan(other)) continue;
      if (!other.holder.refused.empty()) stays = &other;
      if (other.named) named = &other;
    }
    const std::string& service = item.holder.service;
    if (!item.holder.refused.empty()) {
      if (item.named || named != nullptr) item.why = item.holder.refused;
      continue;
    }
    const bool meant = item.ends || named != nullptr;
    item.ends = meant && runs == nullptr && stays == nullptr;
    if (meant && runs != nullptr)
      item.why = "service '" + service + "' runs too (" + pid_of(*runs) +
                 "), and ending what is left of it would stop it";
    else if (meant && stays != nullptr)
      item.why = "what is left of '" + service + "' is ended together, and " + pid_of(*stays) +
                 " must stay: " + stays->holder.refused;
    else if (named != nullptr && !item.named)
      item.why =
          "what is left of '" + service + "' is ended together, and you named " + pid_of(*named);
  }
}

}  // namespace

std::vector<ReapItem> choose(const std::vector<HolderReport>& holders, const ReapOrder& order,
                             const std::function<bool(const HolderReport&)>& by_rule) {
  std::vector<ReapItem> items;
  for (auto& holder : by_process(holders)) {
    ReapItem item;
    item.named = is_named(holder, order);
    const bool meant = item.named || !order.names_any();
    const std::string pid = std::to_string(holder.id.pid.number);
    switch (holder.verdict) {
      case HolderVerdict::orphan:
        item.ends = meant;
        item.why = meant ? "ours, and over" : "not named";
        break;
      case HolderVerdict::idle_holder:
        item.ends = item.named;
        item.why = item.named ? "named by you" : "only where you name it: gpuward reap " + pid;
        break;
      case HolderVerdict::stranger: {
        const bool ruled = by_rule(holder);
        item.ends = ruled && meant;
        item.why = !ruled  ? "no rule of yours names it: [reap] strangers"
                   : meant ? "by your rule"
                           : "not named";
        break;
      }
      case HolderVerdict::owned:
        item.why = "its service runs: gpuward stop " + holder.service;
        break;
      case HolderVerdict::cannot_see:
        item.why = "nobody can be named";
        break;
    }
    if (item.ends && !holder.refused.empty()) {
      item.ends = false;
      item.why = holder.refused;
    }
    item.holder = std::move(holder);
    items.push_back(std::move(item));
  }
  decide_orphans(items);
  return items;
}

namespace {

const ReapItem* find(const std::vector<ReapItem>& items, const ProcessId& id) {
  const auto at =
      std::ranges::find_if(items, [&](const ReapItem& one) { return one.holder.id == id; });
  return at == items.end() ? nullptr : &*at;
}

}  // namespace

std::vector<std::string> unknown_services(const ReapOrder& order,
                                          const std::vector<std::string>& known) {
  std::vector<std::string> unknown;
  for (const auto& name : order.services)
    if (std::ranges::find(known, name) == known.end() &&
        std::ranges::find(unknown, name) == unknown.end())
      unknown.push_back(name);
  return unknown;
}

std::vector<ReapItem> still_so(const std::vector<ReapItem>& shown, const std::vector<ReapItem>& now,
                               std::vector<ReapItem>* changed) {
  std::vector<ReapItem> same;
  for (const ReapItem& item : shown) {
    if (!item.ends) continue;
    const ReapItem* found = find(now, item.holder.id);
    const bool holds = found != nullptr && found->ends &&
                       found->holder.verdict == item.holder.verdict &&
                       found->holder.service == item.holder.service &&
                       found->holder.replica == item.holder.replica;
    if (holds)
      same.push_back(*found);
    else
      changed->push_back(item);
  }
  return same;
}

std::string what_changed(const ReapItem& shown, const std::vector<ReapItem>& now) {
  const ReapItem* found = find(now, shown.holder.id);
  if (found == nullptr) return "it holds no GPU memory any more";
  return "since it was shown this has changed: " + found->holder.sentence + "; " + found->why;
}

}  // namespace gpuward
