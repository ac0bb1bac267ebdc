#include "domain/context_history.h"

#include <algorithm>

#include "domain/memory_proof.h"

namespace gpuward {
namespace {

constexpr Bytes kWorthMention = 64_MiB;
constexpr std::uint8_t kMpsRow = 2;

bool is_readable(const GpuDevice& device) {
  return device.state == GpuState::ok && device.processes_visible;
}

CardSight sight_of(const GpuDevice& device) {
  switch (device.state) {
    case GpuState::lost:
    case GpuState::reset_required:
      return CardSight::lost;
    case GpuState::suspect:
      return CardSight::hung;
    case GpuState::unreadable:
      return CardSight::hidden;
    case GpuState::cut_off:
      return CardSight::cut_off;
    case GpuState::ok:
      break;
  }
  return device.processes_visible ? CardSight::visible : CardSight::hidden;
}

// Someone uses the card whom no row shows at work.
bool works_for_nobody(const GpuDevice& device) {
  if (device.busy_percent.value_or(0) == 0) return false;
  return std::ranges::all_of(device.processes, [](const GpuProcess& row) {
    return row.sm_percent && *row.sm_percent == 0;
  });
}

// SM time of one row; what the driver does not say is nothing where the whole card was idle.
std::optional<std::uint32_t> time_of(const GpuProcess& row, const GpuDevice& device) {
  if (row.sm_percent) return row.sm_percent.maybe();
  if (device.busy_percent && *device.busy_percent == 0) return 0;
  return std::nullopt;
}

}  // namespace

std::vector<ProcessId> ContextHistory::holders() const {
  std::vector<ProcessId> list;
  list.reserve(holders_.size());
  for (const auto& [id, holder] : holders_) list.push_back(id);
  return list;
}

// One that the look still lists had its context then: its row says so, not that it lives.
void ContextHistory::forget(const std::set<ProcessId>& ended) {
  std::erase_if(holders_, [&](const auto& item) {
    return !item.second.listed && ended.contains(item.first);
  });
}

bool ContextHistory::has_lost(Pid pid) const {
  return std::ranges::any_of(
      holders_, [&](const auto& item) { return item.first.pid == pid && !item.second.listed; });
}

std::optional<Instant> ContextHistory::last_busy(Pid pid) const {
  std::optional<Instant> last;
  for (const auto& [id, holder] : holders_)
    if (id.pid == pid && holder.last_busy)
      last = std::max(last.value_or(Instant::min()), *holder.last_busy);
  return last;
}

CardSight ContextHistory::sight(const GpuSnapshot& snapshot, Instant now,
                                std::string* detail) const {
  *detail = snapshot.detail;
  switch (snapshot.sight) {
    case GpuSight::visible:
      break;
    case GpuSight::no_driver:
    case GpuSight::no_gpu:
      return CardSight::no_gpu;
    case GpuSight::mismatch:
      return CardSight::mismatch;
    case GpuSight::no_permission:
      return CardSight::hidden;
    case GpuSight::hung:
      return CardSight::hung;
    case GpuSight::cut_off:
      return CardSight::cut_off;
    case GpuSight::unknown:
    case GpuSight::no_library:  // of ours: a service may have its own
    case GpuSight::failed:
      return CardSight::unknown;
  }
  detail->clear();
  if (!snapshot.pids_are_ours) return CardSight::foreign_pids;
  if (now.time_since_epoch() - std::chrono::nanoseconds(snapshot.taken_ns) > kFresh) {
    *detail = "the last look is too old";
    return CardSight::unknown;
  }
  std::size_t found = 0;
  CardSight worst = CardSight::visible;
  for (const auto& device : snapshot.devices) {
    const bool used = cards_.contains(device.uuid);
    found += used ? 1 : 0;
    if (!used && !cards_.empty()) continue;
    const auto sight = sight_of(device);
    if (sight <= worst) continue;
    worst = sight;
    *detail = "GPU " + std::to_string(device.index) + " (" + device.name + ") is " +
              std::string(device.state == GpuState::ok ? "not readable" : to_string(device.state));
  }
  if (found < cards_.size() && worst == CardSight::visible) {
    *detail = "a card that it used is not listed any more";
    return CardSight::unknown;
  }
  return worst;
}

void ContextHistory::see_card(const GpuDevice& device, const std::set<std::uint32_t>& pids,
                              Instant at) {
  Bytes held;
  bool listed = false;
  for (const auto& row : device.processes) {
    if (!pids.contains(row.pid)) continue;
    listed = true;
    held += row.memory.value_or(Bytes{});
    const auto time = time_of(row, device);
    percent_ = percent_ && time ? std::optional(*percent_ + *time) : std::nullopt;
    // Too young to be told apart from another process of its number: the next look can.
    if (row.start_ticks == 0) {
      ++unpaired_;
      continue;
    }
    const ProcessId id{Pid{static_cast<pid_t>(row.pid)}, row.start_ticks};
    auto& holder = holders_.try_emplace(id, Holder{at, std::nullopt, true}).first->second;
    holder.listed = true;
    if (time.value_or(1) != 0) holder.last_busy = at;
  }
  facts_.memory += held;
  if (!listed && !cards_.contains(device.uuid)) return;
  Card& card = cards_[device.uuid];
  card.listed = listed;
  const Bytes unexplained{unexplained_bytes(device)};
  if (listed) card.held = held, card.unexplained = unexplained;
  // Its memory is in use still, only that no row says by whom: the list is not complete.
  const Bytes more = unexplained - card.unexplained;
  const bool memory_stays =
      !listed && card.held >= kWorthMention && more.count >= card.held.count / 2;
  facts_.use_unexplained |= memory_stays || works_for_nobody(device);
  facts_.may_be_hidden |= std::ranges::any_of(
      device.processes, [](const GpuProcess& row) { return row.kind == kMpsRow; });
}

void ContextHistory::count(Instant at) {
  facts_.listed = facts_.lost_alive = 0;
  Instant newest = unpaired_ != 0 ? at : Instant::min();
  for (const auto& [id, holder] : holders_) {
    if (holder.listed) {
      ++facts_.listed;
      newest = std::max(newest, holder.first_listed);
    } else {
      ++facts_.lost_alive;
    }
  }
  facts_.listed += unpaired_;
  if (facts_.listed == 0) return;
  facts_.ever = true;
  facts_.last_listed = at;
  facts_.newest_listed = newest;
}

void ContextHistory::see(const GpuSnapshot& snapshot, const std::set<std::uint32_t>& pids,
                         const std::set<ProcessId>& ended) {
  const Instant at{std::chrono::nanoseconds(snapshot.taken_ns)};
  if (!first_look_) first_look_ = at;
  std::string ignored;
  if (sight(snapshot, at, &ignored) != CardSight::visible) {
    percent_.reset();
    forget(ended);
    return count(facts_.last_listed);
  }
  facts_.memory = {};
  facts_.may_be_hidden = facts_.use_unexplained = false;
  percent_ = 0;
  unpaired_ = 0;
  for (auto& [id, holder] : holders_) holder.listed = false;
  for (const auto& device : snapshot.devices)
    if (is_readable(device)) see_card(device, pids, at);
  forget(ended);
  count(at);
  for (auto it = holders_.begin(); it != holders_.end() && holders_.size() > kMostHolders;)
    it = it->second.listed ? std::next(it) : holders_.erase(it);
}

}  // namespace gpuward
