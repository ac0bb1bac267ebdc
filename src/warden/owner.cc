#include "warden/owner.h"

#include <algorithm>
#include <set>

#include "control/observe.h"
#include "domain/xid_policy.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::warden {
namespace {

constexpr std::size_t kDeepest = 64;

// The process and those above it, up to the first of the machine.
std::set<Pid> lineage_of(Pid pid) {
  std::set<Pid> chain;
  for (Pid at = pid; at && chain.size() < kDeepest && chain.insert(at).second;) {
    const auto stat = os::read_stat(at);
    if (!stat) break;
    at = stat->parent;
  }
  return chain;
}

std::string_view last_part(std::string_view path) {
  const auto slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

// Does the kernel's word on one process point to this tree? Then it is worth a walk.
bool may_hold(const Fleet::Member& member, const std::set<Pid>& lineage,
              const std::string& groups) {
  const AnchorState& state = member.state;
  const auto among = [&](ProcessId id) { return id && lineage.contains(id.pid); };
  if (among(state.anchor) || among(state.main) || among(state.init)) return true;
  const auto group = last_part(state.cgroup.view());
  if (!group.empty() && groups.find(group) != groups.npos) return true;
  const auto container = state.container.id.view();
  if (!container.empty() && groups.find(container) != groups.npos) return true;
  return state.outside != 0;  // some of it stand where nothing but the record tells of them
}

TreeOwner as_owner(const std::string& name, const Fleet::Member& member) {
  return {name, member.folder.replica, member.state.generation};
}

}  // namespace

std::optional<TreeOwner> owner_of(const std::map<std::string, Fleet::Member>& members, Pid pid) {
  const auto number = static_cast<std::uint32_t>(pid.number);
  const auto stat = os::read_stat(pid);
  if (!stat || stat->ended()) {
    for (const auto& [name, member] : members)
      if (member.seen && member.witness.has_seen(number)) return as_owner(name, member);
    return std::nullopt;
  }
  const auto lineage = lineage_of(pid);
  const auto groups =
      os::read_file("/proc/" + std::to_string(pid.number) + "/cgroup", 64 << 10).value_or("");
  for (const auto& [name, member] : members)
    if (member.seen && may_hold(member, lineage, groups) &&
        control::tree_pids(member.folder, member.state).contains(number))
      return as_owner(name, member);
  return std::nullopt;
}

std::optional<Instant> tree_ended(const Fleet::Member& member, Instant now) {
  const AnchorState& state = member.state;
  switch (state.phase) {
    case Phase::ending:
    case Phase::settling:
    case Phase::unkillable:
      return now;
    case Phase::backing_off:
    case Phase::failed:
    case Phase::stopped:
      return Instant(std::chrono::nanoseconds(state.since_ns));
    case Phase::idle:
    case Phase::starting:
    case Phase::ready:
      break;
  }
  if (state.receipt.generation == 0) return std::nullopt;
  const auto ago = std::chrono::milliseconds(os::unix_ms_now() - state.receipt.at_unix_ms);
  if (ago < ago.zero() || ago > XidHistory::kSpan) return std::nullopt;
  return now - ago;
}

}  // namespace gpuward::warden
