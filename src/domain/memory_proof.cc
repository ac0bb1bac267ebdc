#include "domain/memory_proof.h"

#include <algorithm>

namespace gpuward {
namespace {

bool can_judge(const GpuSnapshot& snapshot) {
  return snapshot.sight == GpuSight::visible && snapshot.pids_are_ours;
}

/// Was the card read, so that its list says who holds it? One that hangs is not waited for where
/// the tree was never seen on it: a call that would give it memory there would hang as well.
bool is_blind_spot(const GpuDevice& device, bool held) {
  if (device.processes_visible) return false;
  return held || device.state != GpuState::suspect;
}

bool has_ended(const GpuProcess& row) {
  return row.start_ticks == 0 && row.pairing != Pairing::young;
}

}  // namespace

std::uint64_t unexplained_bytes(const GpuDevice& device) {
  Bytes rows;
  for (const auto& row : device.processes) rows += row.memory.value_or(Bytes{});
  return (device.memory_used - rows).count;
}

bool rows_explain(const GpuDevice& device, bool pids_are_ours) {
  return pids_are_ours && device.memory_answer == Answer::known && device.processes_visible &&
         std::ranges::all_of(device.processes,
                             [](const GpuProcess& row) { return row.memory.known(); });
}

void MemoryWitness::see(const GpuSnapshot& snapshot, const std::set<std::uint32_t>& pids) {
  const auto blinds = [this](const GpuDevice& device) {
    return is_blind_spot(device, unexplained_.contains(device.uuid));
  };
  if (!can_judge(snapshot) || std::ranges::any_of(snapshot.devices, blinds)) return;
  blind_ = false;
  pids_.insert(pids.begin(), pids.end());
  held_ = Bytes{};
  held_by_.clear();
  dead_.clear();
  for (const auto& device : snapshot.devices) {
    if (!device.processes_visible) continue;
    bool here = unexplained_.contains(device.uuid);
    for (const auto& row : device.processes) {
      if (pids_.contains(row.pid)) {
        here = true;
        held_ += row.memory.value_or(Bytes{});
        held_by_[row.pid] += row.memory.value_or(Bytes{});
      } else if (has_ended(row)) {
        dead_.insert(row.pid);
      }
    }
    if (here) unexplained_[device.uuid] = unexplained_bytes(device);
  }
}

void MemoryWitness::forget(std::uint32_t pid) {
  if (pids_.erase(pid) == 0) return;
  held_ = held_ - held_by_[pid];
  held_by_.erase(pid);
}

MemoryWitness::Answer MemoryWitness::judge(const GpuSnapshot& after) const {
  const auto blinds = [this](const GpuDevice& device) {
    return is_blind_spot(device, unexplained_.contains(device.uuid));
  };
  if (blind_ || !can_judge(after) || std::ranges::any_of(after.devices, blinds)) return {};
  for (const auto& device : after.devices) {
    if (!device.processes_visible) continue;
    for (const auto& row : device.processes)
      if (pids_.contains(row.pid) || (has_ended(row) && !dead_.contains(row.pid)))
        return {MemoryProof::held, {}};
    const auto before = unexplained_.find(device.uuid);
    if (before != unexplained_.end() &&
        unexplained_bytes(device) > before->second + kUnexplainedSlack.count)
      return {MemoryProof::held, {}};
  }
  if (unexplained_.empty()) return {MemoryProof::none, {}};
  return {MemoryProof::returned, held_};
}

}  // namespace gpuward
