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
  return items;
}

}  // namespace gpuward
