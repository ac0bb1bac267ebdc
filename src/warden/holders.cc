#include "warden/holders.h"

#include <algorithm>

#include "os/socket.h"

namespace gpuward::warden {
namespace {

std::uint16_t client_port(const LaunchPlan& plan) {
  if (plan.port != 0) return plan.port;
  const auto address = os::parse_tcp_address(plan.ready.address);
  return address ? address->port() : 0;
}

control::KnownTree known(const Fleet::Member& member) {
  control::KnownTree tree;
  tree.folder = member.folder;
  tree.state = member.state;
  // One whose anchor has just died is about to be led again, unless that was tried in vain: `reap`
  // would stop a service that is being revived.
  tree.led = member.alive || member.trouble.empty();
  // A tree that is led has just been walked for its proof of memory; one that is proven gone need
  // not be.
  const bool over = is_over(member.state.phase);
  if (member.alive && !over)
    tree.pids = member.pids;
  else if (!over || !member.state.receipt.survivors.empty() || member.state.receipt.only_seen)
    tree.pids = control::tree_pids(member.folder, member.state);
  tree.tells_ready = member.plan.ready.kind != ReadyKind::started;
  tree.port = client_port(member.plan);
  if (member.model) tree.idle_limit = member.model->idle_holder;
  return tree;
}

// Numbers and bytes alone: arguments may hold secrets.
LedgerEntry entry_on(const HolderReport& holder) {
  LedgerEntry entry;
  entry.kind = holder.verdict == HolderVerdict::orphan ? EventKind::orphan_seen
                                                       : EventKind::idle_holder_seen;
  entry.service = holder.service;
  entry.replica = holder.replica;
  entry.why = holder.sentence;
  entry.evidence = "pid " + std::to_string(holder.id.pid.number) + " holds " +
                   (holder.memory ? to_string(*holder.memory) : "memory") + " of the GPU";
  return entry;
}

}  // namespace

void Holders::see(Instant now) {
  const GpuSnapshot& gpu = fleet_.gpu();
  const bool anyone =
      std::ranges::any_of(gpu.devices, [](const auto& card) { return !card.processes.empty(); });
  std::vector<control::KnownTree> trees;
  if (anyone && gpu.sight == GpuSight::visible && gpu.pids_are_ours)
    for (const auto& [name, member] : fleet_.members())
      if (member.seen) trees.push_back(known(member));
  trees_ = control::KnownTrees(std::move(trees));
  Clerk::Entries entries;
  for (const auto& holder : survey_.see(gpu, trees_, now)) entries.push_back(entry_on(holder));
  if (!entries.empty()) clerk_.note(std::move(entries));
}

void Holders::report(StatusReport* into, Instant now) {
  into->gpu = fleet_.gpu();
  auto holders = survey_.report(into->gpu, trees_, now);
  into->holders = std::move(holders.list);
  into->card_sums = std::move(holders.cards);
}

}  // namespace gpuward::warden
