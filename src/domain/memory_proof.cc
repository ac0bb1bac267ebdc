#include "domain/memory_proof.h"

#include <algorithm>

namespace gpuward {
namespace {

bool can_judge(const GpuSnapshot& snapshot) {
  return snapshot.sight == GpuSight::visible && snapshot.pids_are_ours &&
         std::ranges::all_of(snapshot.devices, &GpuDevice::processes_visible);
}

}  // namespace

std::uint64_t unexplained_bytes(const GpuSnapshot& snapshot) {
  std::uint64_t sum = 0;
  for (const auto& device : snapshot.devices) {
    Bytes rows;
    for (const auto& row : device.processes) rows += row.memory.value_or(Bytes{});
    sum += (device.memory_used - rows).count;
  }
  return sum;
}

void MemoryWitness::see(const GpuSnapshot& snapshot, const std::set<std::uint32_t>& pids) {
  if (!can_judge(snapshot)) return;
  blind_ = false;
  pids_.insert(pids.begin(), pids.end());
  held_ = Bytes{};
  for (const auto& device : snapshot.devices)
    for (const auto& row : device.processes) {
      if (!pids_.contains(row.pid)) continue;
      ever_held_ = true;
      held_ += row.memory.value_or(Bytes{});
    }
  unexplained_ = unexplained_bytes(snapshot);
}

MemoryWitness::Answer MemoryWitness::judge(const GpuSnapshot& after) const {
  if (blind_ || !can_judge(after)) return {};
  if (!ever_held_) return {MemoryProof::none, {}};
  for (const auto& device : after.devices)
    for (const auto& row : device.processes)
      if (pids_.contains(row.pid)) return {MemoryProof::held, {}};
  if (unexplained_bytes(after) > unexplained_ + kUnexplainedSlack.count)
    return {MemoryProof::held, {}};
  return {MemoryProof::returned, held_};
}

}  // namespace gpuward
