#include "control/observe.h"

#include <algorithm>
#include <map>

#include "base/utf8.h"
#include "os/cgroup.h"
#include "os/clock.h"
#include "os/container.h"
#include "os/proc_fs.h"

namespace gpuward::control {
namespace {

struct Member {
  Pid parent;
  std::uint64_t start_ticks = 0;
  bool one_thread = false;
};

using Members = std::map<Pid, Member>;

// What was handed over on purpose: it lives below the anchor perhaps, and is not of the tree.
class Apart {
 public:
  explicit Apart(const AnchorState& state) : state_(state) {
    if (!state.has_released || state.released_group.empty()) return;
    auto group = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                  std::string(state.released_group.view()));
    if (group) group_ = std::move(*group);
  }
  bool holds(Pid pid, const os::ProcStat& stat) const {
    if (group_ && group_.holds(pid)) return true;
    return std::ranges::any_of(state_.kept, [&](const Released& one) {
      return one.id == ProcessId{pid, stat.start_ticks} ||
             (one.session && one.session == stat.session && stat.session != state_.main_session);
    });
  }

 private:
  const AnchorState& state_;
  os::Cgroup group_;
};

bool add_member(Pid pid, const Apart& apart, Members& members) {
  const auto stat = os::read_stat(pid);
  if (stat && apart.holds(pid, *stat)) return false;
  if (stat && !stat->ended())
    members.emplace(pid, Member{stat->parent, stat->start_ticks, stat->threads == 1});
  return stat.has_value();
}

bool holds(const Members& members, ProcessId id) {
  const auto at = members.find(id.pid);
  return at != members.end() && at->second.start_ticks == id.start_ticks;
}

// The processes that the record names, main and those in no cgroup of ours, as far as they live.
template <class Visit>
void for_each_recorded(const AnchorFolder& folder, const AnchorState& state, Visit&& visit) {
  if (state.main && os::lives(state.main)) visit(state.main.pid);
  if (state.outside == 0) return;
  const auto record = read_record(folder);
  if (!record) return;
  for (const auto& member : unpack(record->members))
    if (member != state.main && os::lives(member)) visit(member.pid);
}

void add_descendants(Pid parent, bool one_thread, const Apart& apart, Members& members, int depth) {
  if (depth > 64) return;
  auto meet = [&](Pid child) {
    if (!members.contains(child) && !add_member(child, apart, members)) return;
    const auto at = members.find(child);
    add_descendants(child, at != members.end() && at->second.one_thread, apart, members, depth + 1);
  };
  (void)os::for_each_child(parent, meet, one_thread);
}

// Of the service's container; its anchor may not have met the id yet when it died.
ContainerId container_of(const AnchorFolder& folder, const AnchorState& state) {
  if (!state.container.id.empty() || !state.container.awaited) return state.container.id;
  const auto record = read_record(folder);
  if (!record) return {};
  return os::read_container_id(record->plan.container.cidfile.c_str());
}

// Where its group is known every second is cheap; else every process is asked.
void add_container(const AnchorFolder& folder, const AnchorState& state, const Apart& apart,
                   Members& members) {
  if (!state.container.awaited) return;
  const auto add = [&](Pid pid) {
    if (!members.contains(pid)) add_member(pid, apart, members);
  };
  if (!state.container.cgroup.empty()) {
    auto group = os::Cgroup::open(os::CgroupKind::v2, std::string(state.container.cgroup.view()));
    if (group) return (void)group->for_each_member([&](Pid pid) { add(pid); });
  }
  const auto id = container_of(folder, state);
  if (!id.empty()) (void)os::for_each_in_container(id, add);
}

Members collect_members(const AnchorFolder& folder, const AnchorState& state) {
  Members members;
  const Apart apart(state);
  if (!state.cgroup.empty()) {
    auto group = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                  std::string(state.cgroup.view()));
    if (group) (void)group->for_each_member([&](Pid pid) { add_member(pid, apart, members); });
  }
  add_container(folder, state, apart, members);
  if (os::lives(state.anchor)) add_descendants(state.anchor.pid, true, apart, members, 0);
  if (os::lives(state.init)) {  // ours, not the service's
    add_descendants(state.init.pid, true, apart, members, 0);
    members.erase(state.init.pid);
  }
  if (state.outside == 0 && holds(members, state.main)) return members;
  for_each_recorded(folder, state, [&](Pid pid) {
    if (members.contains(pid)) return;
    if (add_member(pid, apart, members)) add_descendants(pid, false, apart, members, 0);
  });
  return members;
}

using Children = std::multimap<Pid, Pid>;  // parent -> child

void append_subtree(Pid pid, Pid parent, std::uint32_t depth, const Children& children,
                    std::size_t most, std::vector<TreeProcess>& tree) {
  if (tree.size() >= most || depth > 64) return;
  auto command = os::read_command(pid, 512);
  tree.push_back({pid, parent, depth, command ? *command : "?"});
  const auto [first, last] = children.equal_range(pid);
  for (auto at = first; at != last; ++at)
    append_subtree(at->second, pid, depth + 1, children, most, tree);
}

// GPU memory of the tree by the driver's rows; absent where rows cannot be matched to our pids.
std::optional<Bytes> gpu_memory_of(const std::set<std::uint32_t>& pids, const GpuSnapshot& gpu,
                                   std::vector<const GpuDevice*>* cards) {
  if (gpu.sight != GpuSight::visible || !gpu.pids_are_ours) return std::nullopt;
  Bytes sum;
  for (const auto& device : gpu.devices) {
    if (!device.processes_visible) return std::nullopt;
    bool here = false;
    for (const auto& row : device.processes) {
      if (!pids.contains(row.pid)) continue;
      here = true;
      if (row.memory) sum += *row.memory;
    }
    if (here) cards->push_back(&device);
  }
  return sum;
}

// Where the cgroup holds the whole tree, and its anchor lives, the kernel's list is enough.
std::optional<std::set<std::uint32_t>> members_of_group(const AnchorView& view) {
  const AnchorState& state = view.state;
  if (!view.alive || view.silent || state.cgroup.empty() || state.outside != 0 || state.init ||
      state.container.awaited || !state.kept.empty())
    return std::nullopt;
  auto group = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                std::string(state.cgroup.view()));
  if (!group) return std::nullopt;
  std::set<std::uint32_t> pids;
  const auto read =
      group->for_each_member([&](Pid pid) { pids.insert(static_cast<std::uint32_t>(pid.number)); });
  return read ? std::optional(std::move(pids)) : std::nullopt;
}

ReplicaReport report_replica(const AnchorView& view, const GpuSnapshot& gpu, bool brief,
                             std::vector<const GpuDevice*>* cards) {
  ReplicaReport report;
  report.index = view.folder.replica;
  report.generation = view.state.generation;
  report.log_lost = {view.state.lost_log_bytes};
  if (view.alive) report.anchor = view.state.anchor.pid;
  std::set<std::uint32_t> pids;
  if (auto members = brief ? members_of_group(view) : std::nullopt) {
    pids = std::move(*members);
    report.processes = static_cast<std::uint32_t>(pids.size());
    report.main = view.state.main.pid;
  } else {
    report.tree = read_tree(view.folder, view.state, 200, &report.processes);
    for (const auto& process : report.tree)
      pids.insert(static_cast<std::uint32_t>(process.pid.number));
    if (os::lives(view.state.main)) report.main = view.state.main.pid;
  }
  report.gpu_memory = gpu_memory_of(pids, gpu, cards);
  if (view.plan.port != 0)
    report.endpoint = "127.0.0.1:" + std::to_string(view.plan.port);
  else if (view.plan.ready.kind != ReadyKind::started)
    report.endpoint = view.plan.ready.address;
  return report;
}

void judge_view(const AnchorView& view, Instant now, ServiceReport& report) {
  report.verdict = judge(view.state);
  report.sentence = sentence_on(view.state, report.verdict, now);
  if (view.alive && view.silent) {
    report.verdict = Verdict::failed;
    report.sentence = "its anchor (pid " + std::to_string(view.state.anchor.pid.number) +
                      ") does not answer; last heard of it: " + report.sentence;
  }
  const bool lives = !view.alive && tree_lives(view.folder, view.state);
  if (view.alive || (is_over(view.state.phase) && !lives)) return;
  if (lives) {
    report.verdict = Verdict::failed;
    report.sentence =
        "its anchor died; the processes run on unowned until `gpuward up` takes them over";
  } else {
    report.verdict = Verdict::failed;
    report.sentence = "its anchor died, and its processes are gone";
  }
}

void add_limits(const AnchorView& view, ServiceReport& report) {
  const LimitState& state = view.state.limits;
  const TreeLimits& limits = view.plan.limits;
  if (!view.alive) return;
  if (!state.memory_trouble.empty())
    report.evidence.push_back(
        {"memory_max", "not in force: " + std::string(state.memory_trouble.view()), 0});
  if (limits.cpu_weight != 0 && !state.cpu_trouble.empty())
    report.evidence.push_back(
        {"cpu_weight", "not in force: " + std::string(state.cpu_trouble.view()), 0});
  if (state.kills != 0)
    report.evidence.push_back({"memory", std::string(describe_kills(state, limits).view()), 0});
}

void add_evidence(const AnchorView& view, const ReplicaReport& replica,
                  const std::vector<const GpuDevice*>& cards, Instant now, ServiceReport& report) {
  const auto age_of = [&](std::int64_t at_ns) {
    return std::chrono::duration<double>(now.time_since_epoch() - std::chrono::nanoseconds(at_ns))
        .count();
  };
  const double age = age_of(view.state.since_ns);
  if (!view.state.ready_evidence.empty() && view.state.phase == Phase::ready)
    report.evidence.push_back({"readiness", std::string(view.state.ready_evidence.view()), age});
  if (replica.main)
    report.evidence.push_back({"main", "pid " + std::to_string(replica.main.number) + " lives", 0});
  if (view.alive && !view.state.container.id.empty())
    report.evidence.push_back(
        {"container",
         short_id(view.state.container.id) + (view.state.container.seen
                                                  ? " is held by its id"
                                                  : " was not seen on this machine yet"),
         0});
  if (view.alive && !view.state.why_no_cgroup.empty())
    report.evidence.push_back(
        {"containment", "no cgroup: " + std::string(view.state.why_no_cgroup.view()), 0});
  add_limits(view, report);
  for (const auto* card : cards)
    report.evidence.push_back({"gpu", "holds a context on " + card->name + " (" + card->uuid + ")",
                               age_of(card->read_ns)});
  if (!view.state.reason.empty())
    report.evidence.push_back({"reason", std::string(view.state.reason.view()), age});
  if (view.state.lost_log_bytes != 0)
    report.evidence.push_back({"log",
                               "at least " + std::to_string(view.state.lost_log_bytes) +
                                   " bytes are missing in it: it could not be written, or more "
                                   "came than 'log.rate' allows",
                               0});
}

void add_restarts(const AnchorState& state, ServiceReport& report) {
  const auto count = state.generation - 1;
  const std::string times = std::to_string(count) + (count == 1 ? " time" : " times");
  if (report.verdict == Verdict::healthy) report.sentence += ", started again " + times;
  std::string text = "started again " + times;
  if (!state.last_failure.empty())
    text += "; before that: " + std::string(state.last_failure.view());
  report.evidence.push_back({"restarts", text, 0});
}

// Reads every environment: only for a tree that nothing else tells of.
bool a_marked_one_lives(const AnchorState& state, const MarkedProcesses& marks) {
  bool any = false;
  if (state.tree_variable.empty()) return any;
  const auto known = marks.of(state);
  if (known.anchor && known.members.empty()) return any;
  const Apart apart(state);
  (void)os::for_each_process([&](Pid pid) {
    if (any || !os::environment_has(pid, state.tree_variable)) return;
    const auto stat = os::read_stat(pid);
    any = stat && !stat->ended() && !apart.holds(pid, *stat);
  });
  return any;
}

}  // namespace

Result<AnchorView> view_anchor(const AnchorFolder& folder, Instant deadline) {
  AnchorView view;
  view.folder = folder;
  auto record = read_record(folder);
  if (!record) return fail(std::move(record).error());
  view.plan = std::move(record->plan);
  view.state = record->state;
  view.alive = anchor_lives(folder);
  if (!view.alive) return view;
  auto channel = connect_anchor(folder);
  if (!channel) return view;  // it is just ending: the record says as much
  AnchorRequest request;
  if (!channel->send(request, deadline)) return view;
  auto state = next_state(*channel, deadline);
  if (state) view.state = *state;
  view.silent = !state && state.error().code == make_error_code(Errc::timed_out);
  return view;
}

std::vector<TreeProcess> read_tree(const AnchorFolder& folder, const AnchorState& state,
                                   std::size_t most, std::uint32_t* total) {
  const auto members = collect_members(folder, state);
  *total = static_cast<std::uint32_t>(members.size());
  Children children;
  for (const auto& [pid, member] : members) children.emplace(member.parent, pid);
  std::vector<TreeProcess> tree;
  for (const auto& [pid, member] : members)
    if (!members.contains(member.parent))
      append_subtree(pid, member.parent, 0, children, most, tree);
  return tree;
}

std::set<std::uint32_t> tree_pids(const AnchorFolder& folder, const AnchorState& state) {
  std::set<std::uint32_t> pids;
  for (const auto& [pid, member] : collect_members(folder, state))
    pids.insert(static_cast<std::uint32_t>(pid.number));
  return pids;
}

bool was_given_up(const AnchorState& state, const ProcessId& id, bool by_mark_alone) {
  if (!state.has_released && !state.receipt.released.all) return false;
  if (by_mark_alone && is_over(state.phase)) return true;
  if (state.receipt.released.all && is_over(state.phase)) return true;
  const auto stat = os::read_stat(id.pid);
  return stat && stat->start_ticks == id.start_ticks && Apart(state).holds(id.pid, *stat);
}

bool tree_lives(const AnchorFolder& folder, const AnchorState& state,
                const MarkedProcesses& marks) {
  bool any = os::lives(state.init);
  for_each_recorded(folder, state, [&](Pid) { any = true; });
  any = any || os::container_lives(container_of(folder, state));
  if (any) return true;
  // An anchor that died before its first look has named nobody but main.
  if (state.cgroup.empty()) return !is_over(state.phase) && a_marked_one_lives(state, marks);
  auto group = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                std::string(state.cgroup.view()));
  auto populated = group ? group->populated() : Result<bool>(false);
  if (!populated || !*populated || state.kept.empty()) return populated && *populated;
  const Apart apart(state);
  (void)group->for_each_member([&](Pid pid) {
    const auto stat = os::read_stat(pid);
    any |= stat && !stat->ended() && !apart.holds(pid, *stat);
  });
  return any;
}

std::optional<os::Cgroup> HomeGroups::find_populated(const std::string& name, Instant now) {
  const auto dash = name.rfind('.');
  if (now - looked_ > kFresh) groups_ = os::find_cgroups(name.substr(dash)), looked_ = now;
  for (const auto& known : groups_) {
    if (!known.path.ends_with("/" + name)) continue;
    auto group = os::Cgroup::open(known.kind, known.path);
    const auto populated = group ? group->populated() : Result<bool>(false);
    if (populated && *populated) return std::move(*group);
  }
  return std::nullopt;
}

std::optional<std::string> lost_tree(const Home& home, const AnchorFolder& folder,
                                     HomeGroups& groups) {
  auto record = read_record(folder);
  if (record) return std::nullopt;
  const auto name = cgroup_name(home, folder.service, folder.replica);
  const auto group = name ? groups.find_populated(*name, os::now()) : std::nullopt;
  const bool damaged = record.error().code.value() != ENOENT;
  if (!group && !damaged) return std::nullopt;
  std::string text = damaged ? "its record is damaged" : "its record is gone";
  if (!group)
    return text + ": whether processes of it live cannot be told; once none does, remove " +
           folder.path;
  AnchorState state;
  state.cgroup.append(group->path());
  state.cgroup_kind = static_cast<std::uint8_t>(group->kind());
  std::uint32_t total = 0;
  const auto tree = read_tree(folder, state, 5, &total);
  text += ", and " + std::to_string(total) + (total == 1 ? " process" : " processes") +
          " of it run on unowned:";
  for (const auto& process : tree)
    text += " " + std::to_string(process.pid.number) + " (" + shortened(process.command, 60) + ")";
  if (total > tree.size()) text += " ...";
  return text + "; end them by hand (cgroup " + group->path() + ")";
}

ServiceReport report_on(const std::string& service, const std::vector<AnchorView>& replicas,
                        const GpuSnapshot& gpu, Instant now, bool brief) {
  ServiceReport report;
  report.name = service;
  report.sentence = "stopped";
  for (const auto& view : replicas) {
    std::vector<const GpuDevice*> cards;
    auto replica = report_replica(view, gpu, brief, &cards);
    judge_view(view, now, report);
    add_evidence(view, replica, cards, now, report);
    if (view.alive) report.containment = view.state.level;
    if (view.state.receipt.generation != 0) report.memory_proof = view.state.receipt.memory;
    if (view.state.generation > 1) report.restarts += view.state.generation - 1;
    if (view.alive && view.state.generation > 1) add_restarts(view.state, report);
    if (view.alive || replica.processes != 0) report.replicas.push_back(std::move(replica));
  }
  return report;
}

}  // namespace gpuward::control
