#include "control/holders.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "control/observe.h"
#include "os/clock.h"
#include "os/container.h"
#include "os/listeners.h"
#include "os/proc_fs.h"

namespace gpuward::control {
namespace {

constexpr auto kReadCpuEvery = std::chrono::seconds(5);
constexpr std::size_t kCpuReadings = 64;  // in one look, or an eighth of them where they are many
constexpr auto kReadClientsEvery = std::chrono::seconds(5);
constexpr auto kDescribeEvery = std::chrono::seconds(10);
constexpr std::size_t kMostConnections = 1024;
constexpr std::size_t kMostRelatives = 64;
constexpr std::size_t kMostPorts = 16;
constexpr std::size_t kLargestEnvironment = std::size_t{2} << 20;

std::string proc(Pid pid, const char* leaf) {
  return "/proc/" + std::to_string(pid.number) + "/" + leaf;
}

Duration boot_time() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

Duration since_boot(std::uint64_t ticks) {
  static const auto hertz = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return std::chrono::nanoseconds(ticks * (1'000'000'000ULL / hertz));
}

bool nameable(const GpuSnapshot& snapshot, const GpuProcess& row) {
  return snapshot.pids_are_ours && row.start_ticks != 0;
}

ProcessId id_of(const GpuProcess& row) {
  return {Pid{static_cast<pid_t>(row.pid)}, row.start_ticks};
}

// CPU time of @p pid and of those below it that hold no card themselves: who waits for a child that
// computes is at work. @p all: those below it were not too many to be looked at.
std::uint64_t cpu_of(Pid pid, const os::ProcStat& stat, const std::set<Pid>& holders, bool* all) {
  std::uint64_t ticks = stat.cpu_ticks;
  std::vector<Pid> below;
  *all = true;
  const auto gather = [&](Pid parent) {
    (void)os::for_each_child(parent, [&](Pid child) {
      if (holders.contains(child)) return;
      if (below.size() == kMostRelatives)
        *all = false;
      else
        below.push_back(child);
    });
  };
  gather(pid);
  for (std::size_t at = 0; at < below.size(); ++at) {
    const auto child = os::read_stat(below[at]);
    if (!child) continue;
    ticks += child->cpu_ticks;
    gather(below[at]);
  }
  return ticks;
}

// Its birth after READY of the generation that runs.
std::optional<Duration> born_after_ready(const ProcessId& id, const KnownTree& tree) {
  if (!tree.tells_ready || tree.state.phase != Phase::ready) return std::nullopt;
  // A sleep of the machine in between only makes READY look later: more belongs to the start.
  const Duration ready =
      boot_time() - (os::now().time_since_epoch() - std::chrono::nanoseconds(tree.state.since_ns));
  return since_boot(id.start_ticks) - ready;
}

// Connections of another network namespace are not in our lists.
bool in_our_network(Pid pid) {
  struct stat ours{};
  struct stat theirs{};
  return ::stat("/proc/self/ns/net", &ours) == 0 &&
         ::stat(proc(pid, "ns/net").c_str(), &theirs) == 0 && ours.st_ino == theirs.st_ino &&
         ours.st_dev == theirs.st_dev;
}

std::string read_mark(Pid pid) {
  const auto text = os::read_file(proc(pid, "environ"), kLargestEnvironment);
  if (!text) return {};
  for (std::size_t at = 0; at < text->size();) {
    const auto end = std::min(text->find('\0', at), text->size());
    const std::string_view variable(text->data() + at, end - at);
    if (variable.starts_with(kTreeVariable)) return std::string(variable.substr(0, 48));
    at = end + 1;
  }
  return {};
}

std::vector<std::string> ancestors_of(Pid pid) {
  std::vector<std::string> names;
  for (int steps = 0; steps < 32; ++steps) {
    const auto stat = os::read_stat(pid);
    if (!stat || stat->parent.number <= 1) break;
    pid = stat->parent;
    if (const auto parent = os::read_stat(pid)) names.emplace_back(parent->name.view());
  }
  return names;
}

// Its memory may be locked for long (state D): whoever reads its command line or its environment
// would wait with it.
bool may_be_read(const ProcessId& id, os::ProcStat* stat) {
  const auto now = os::read_stat(id.pid);
  if (!now || now->start_ticks != id.start_ticks) return false;
  *stat = *now;
  return now->state != 'D';
}

std::map<ProcessId, HolderHistory::Sight> sights_in(const GpuSnapshot& snapshot) {
  std::map<ProcessId, HolderHistory::Sight> sights;
  for (const auto& device : snapshot.devices)
    for (const auto& row : device.processes) {
      if (!nameable(snapshot, row)) continue;
      auto& sight = sights[id_of(row)];
      sight.id = id_of(row);
      sight.memory += row.memory.value_or(Bytes{});
      // Where the driver does not say whose work it is, it may be everybody's.
      sight.busy |= row.sm_percent ? *row.sm_percent != 0 : device.busy_percent.value_or(1) != 0;
    }
  return sights;
}

std::uint64_t milliseconds_of(Duration time) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, time / std::chrono::milliseconds(1)));
}

// A record that cannot be read promises nothing.
bool ever_restored(const AnchorFolder& folder) {
  const auto record = read_record(folder);
  return !record || record->ever_restored;
}

}  // namespace

KnownTrees::KnownTrees(std::vector<KnownTree> trees) : trees_(std::move(trees)) {
  for (std::size_t at = 0; at < trees_.size(); ++at) {
    for (const auto pid : trees_[at].pids) by_pid_[pid] = at;
    const auto mark = trees_[at].state.tree_variable.view();
    if (!mark.empty()) by_mark_.emplace(mark, at);
  }
}

const KnownTree* KnownTrees::find(Pid pid, std::string_view mark) const {
  const auto number = by_pid_.find(static_cast<std::uint32_t>(pid.number));
  if (number != by_pid_.end()) return &trees_[number->second];
  const auto marked = mark.empty() ? by_mark_.end() : by_mark_.find(mark);
  return marked == by_mark_.end() ? nullptr : &trees_[marked->second];
}

KnownTrees known_trees(const Home& home, Instant deadline) {
  std::vector<KnownTree> trees;
  const auto folders = list_anchors(home);
  if (!folders) return KnownTrees();
  for (const auto& folder : *folders) {
    const auto view = view_anchor(folder, deadline);
    if (!view) continue;
    KnownTree tree;
    tree.folder = folder;
    tree.state = view->state;
    tree.pids = tree_pids(folder, view->state);
    tree.led = view->alive;
    trees.push_back(std::move(tree));
  }
  return KnownTrees(std::move(trees));
}

bool is_over(const KnownTree& tree) {
  return is_over(tree.state.phase) || (!tree.led && !os::lives(tree.state.main));
}

HolderSurvey::Known& HolderSurvey::know(const ProcessId& id) {
  const auto at = known_.try_emplace(id).first;
  os::ProcStat stat;
  if (!at->second.mark_read && may_be_read(id, &stat)) {
    at->second.mark = read_mark(id.pid);
    at->second.mark_read = true;
  }
  return at->second;
}

const KnownTree* HolderSurvey::tree_of(const ProcessId& id, const KnownTrees& trees,
                                       Lineage* lineage) {
  const std::string& mark = know(id).mark;
  const KnownTree* found = trees.find(id.pid, mark);
  *lineage = mark.empty() ? Lineage::none : Lineage::other_mark;
  if (found == nullptr) return nullptr;
  const bool by_mark = !found->pids.contains(static_cast<std::uint32_t>(id.pid.number));
  *lineage = was_given_up(found->state, id, by_mark) ? Lineage::given_up
             : is_over(*found)                       ? Lineage::left_over
                                                     : Lineage::member;
  return found;
}

void HolderSurvey::read_clients(const KnownTrees& trees, Instant now) {
  if (clients_read_ != Instant{} && now - clients_read_ < kReadClientsEvery) return;
  clients_read_ = now;
  std::set<std::uint16_t> ports;
  for (const auto& tree : trees.all())
    if (tree.port != 0) ports.insert(tree.port);
  auto all = os::connections_at(ports, kMostConnections);
  clients_.clear();
  if (all) clients_ = std::move(*all);
}

void HolderSurvey::ask_birth(const ProcessId& id, const KnownTree& tree, const KnownTrees& trees,
                             Instant now) {
  Known& known = know(id);
  if (known.births_asked) return;
  if (known.met == Instant{}) known.met = now;
  // A list from before it was there does not hold the client that it was born for: the next one.
  read_clients(trees, now);
  if (clients_read_ < known.met) return;
  known.births_asked = true;
  if (tree.port == 0 || !in_our_network(id.pid) || !in_our_network(tree.state.main.pid)) return;
  const auto at = clients_.find(tree.port);
  if (at != clients_.end() && !at->second.full) known.at_birth = at->second;
}

std::optional<std::uint32_t> HolderSurvey::connections_left(const ProcessId& id,
                                                            const KnownTree& tree,
                                                            const KnownTrees& trees, Instant now) {
  const Known& known = know(id);
  if (!known.at_birth) return std::nullopt;
  read_clients(trees, now);
  const auto at = clients_.find(tree.port);
  if (at == clients_.end() || at->second.full) return std::nullopt;
  return static_cast<std::uint32_t>(std::ranges::count_if(
      known.at_birth->list,
      [&](const os::Connection& one) { return std::ranges::binary_search(at->second.list, one); }));
}

// Whose CPU time is read by this look: those that are new, and of the others those that wait for it
// longest, so that many holders do not cost one look all at once.
std::set<ProcessId> HolderSurvey::cpu_due(const std::map<ProcessId, HolderHistory::Sight>& sights,
                                          const KnownTrees& trees, Instant now) {
  Duration every = kReadCpuEvery;
  for (const auto& tree : trees.all())
    if (tree.idle_limit) every = std::min<Duration>(every, *tree.idle_limit / 2);
  std::set<ProcessId> due;
  std::vector<std::pair<Instant, ProcessId>> waiting;
  for (const auto& [id, sight] : sights) {
    const Instant last = know(id).cpu_read;
    if (std::as_const(history_).find(id) == nullptr)
      due.insert(id);
    else if (now - last >= every)
      waiting.emplace_back(last, id);
  }
  std::ranges::sort(waiting);
  waiting.resize(std::min(waiting.size(), std::max(kCpuReadings, sights.size() / 8)));
  for (const auto& [last, id] : waiting) due.insert(id);
  return due;
}

std::vector<HolderReport> HolderSurvey::see(const GpuSnapshot& snapshot, const KnownTrees& trees,
                                            Instant now) {
  if (snapshot.sight != GpuSight::visible || !snapshot.pids_are_ours) return {};
  auto sights = sights_in(snapshot);
  const auto due = cpu_due(sights, trees, now);
  std::set<Pid> holders;
  for (const auto& [id, sight] : sights) holders.insert(id.pid);
  std::vector<HolderHistory::Sight> list;
  for (auto& [id, sight] : sights) {
    Lineage lineage = Lineage::none;
    const KnownTree* tree = tree_of(id, trees, &lineage);
    const auto born = tree != nullptr ? born_after_ready(id, *tree) : std::nullopt;
    sight.start_up_body = tree != nullptr && (!born || *born <= kStartUpTail);
    if (tree != nullptr && !sight.start_up_body) ask_birth(id, *tree, trees, now);
    sight.age = boot_time() - since_boot(id.start_ticks);
    if (due.contains(id)) {
      const auto stat = os::read_stat(id.pid);
      if (!stat || stat->start_ticks != id.start_ticks) continue;  // it has ended since
      sight.parent = stat->parent;
      bool all = true;
      sight.cpu_ticks =
          sight.start_up_body ? stat->cpu_ticks : cpu_of(id.pid, *stat, holders, &all);
      sight.busy |= !all;
      know(id).cpu_read = now;
    }
    list.push_back(sight);
  }
  history_.see(list, now, [](const ProcessId& id) { return os::lives(id); });
  std::erase_if(known_, [&](const auto& item) { return !sights.contains(item.first); });
  return new_ones(sights, trees, now);
}

std::vector<HolderReport> HolderSurvey::new_ones(
    const std::map<ProcessId, HolderHistory::Sight>& sights, const KnownTrees& trees, Instant now) {
  std::vector<HolderReport> found;
  for (const auto& [id, sight] : sights) {
    auto* use = history_.find(id);
    if (use == nullptr || use->told) continue;
    const KnownTree* tree = nullptr;
    auto holding = judge(facts_of(id, trees, &tree, now));
    const bool worth_telling =
        holding.verdict == HolderVerdict::orphan || holding.verdict == HolderVerdict::idle_holder;
    if (tree == nullptr || !worth_telling) continue;
    use->told = true;
    HolderReport report;
    report.id = id;
    report.memory = sight.memory;
    report.verdict = holding.verdict;
    report.sentence = std::move(holding.sentence);
    report.service = tree->folder.service;
    report.replica = tree->folder.replica;
    found.push_back(std::move(report));
  }
  return found;
}

HolderFacts HolderSurvey::facts_of(const ProcessId& id, const KnownTrees& trees,
                                   const KnownTree** tree, Instant now) {
  HolderFacts facts;
  *tree = tree_of(id, trees, &facts.lineage);
  const auto* use = std::as_const(history_).find(id);
  if (use != nullptr && use->cpu_known) facts.idle.idle_for = now - use->idle_since;
  if (*tree == nullptr) return facts;
  facts.service = (*tree)->folder.service;
  facts.led = (*tree)->led;
  facts.idle.limit = (*tree)->idle_limit;
  facts.idle.born_after_ready = born_after_ready(id, **tree);
  if (use != nullptr) facts.idle.start_up_body = use->start_up_body;
  if (use != nullptr) facts.idle.worked_again = use->worked_again;
  // Asked last: reading all connections is dear.
  facts.idle.connections_left = 0;
  if (!is_idle_holder(facts))
    facts.idle.connections_left.reset();
  else
    facts.idle.connections_left = connections_left(id, **tree, trees, now);
  return facts;
}

// Whoever listens is listed once for a whole report.
std::vector<std::uint16_t> HolderSurvey::ports_of(Pid pid) {
  if (!listeners_) {
    listeners_.emplace();
    (void)os::for_each_listener([&](const os::Listener& listener) {
      if (listener.inode != 0) (*listeners_)[listener.inode] = listener.port;
    });
  }
  std::set<std::uint16_t> ports;
  if (!listeners_->empty())
    (void)os::for_each_socket(pid, [&](std::uint64_t inode) {
      const auto at = listeners_->find(inode);
      if (at != listeners_->end() && ports.size() < kMostPorts) ports.insert(at->second);
    });
  return {ports.begin(), ports.end()};
}

void HolderSurvey::describe(const ProcessId& id, Known& known, Instant now) {
  if (known.described_once && now - known.described < kDescribeEvery) return;
  known.described = now;
  os::ProcStat stat;
  if (may_be_read(id, &stat)) {
    if (auto command = os::read_command(id.pid, 300)) known.command = std::move(*command);
  } else if (known.command.empty() && stat.start_ticks == id.start_ticks) {
    known.command = "[" + std::string(stat.name.view()) + "]";
  }
  known.ports = ports_of(id.pid);
  if (std::exchange(known.described_once, true)) return;
  if (const auto uid = os::read_uid(id.pid)) known.uid = *uid;
  known.container = std::string(os::container_of(id.pid).view());
  static const std::string ours = os::read_file("/proc/self/cgroup").value_or("");
  known.origin =
      origin_of(os::read_file(proc(id.pid, "cgroup")).value_or(""), ours, ancestors_of(id.pid));
}

HolderReport HolderSurvey::report_on(const GpuSnapshot& snapshot, const GpuDevice& device,
                                     const GpuProcess& row, const KnownTrees& trees, Instant now) {
  HolderReport report;
  report.id = id_of(row);
  report.gpu = device.uuid;
  report.memory = row.memory.maybe();
  report.sm_percent = row.sm_percent.maybe();
  report.kind = row.kind;
  HolderFacts facts;
  const KnownTree* tree = nullptr;
  if (nameable(snapshot, row)) {
    facts = facts_of(report.id, trees, &tree, now);
    Known& known = know(report.id);
    describe(report.id, known, now);
    report.command = known.command;
    report.uid = known.uid;
    report.container = known.container;
    report.unit = known.origin.unit;
    report.terminal = known.origin.terminal;
    report.ports = known.ports;
    report.age_ms = milliseconds_of(boot_time() - since_boot(report.id.start_ticks));
    if (facts.idle.idle_for) report.idle_ms = milliseconds_of(*facts.idle.idle_for);
  } else {
    facts.named = false;
  }
  auto holding = judge(facts);
  report.verdict = holding.verdict;
  report.sentence = std::move(holding.sentence);
  const bool restored =
      tree != nullptr && holding.verdict != HolderVerdict::owned && ever_restored(tree->folder);
  report.refused = why_not_reaped(report.kind, restored);
  // No rule for strangers is meant for one that may be ours.
  if (facts.named && report.refused.empty() && !know(report.id).mark_read)
    report.refused = "it cannot be interrupted (state D), so whose it is could not be read";
  if (tree == nullptr) return report;
  report.service = tree->folder.service;
  report.replica = tree->folder.replica;
  return report;
}

Holders HolderSurvey::report(const GpuSnapshot& snapshot, const KnownTrees& trees, Instant now) {
  Holders holders;
  listeners_.reset();
  for (const auto& device : snapshot.devices)
    for (const auto& row : device.processes)
      holders.list.push_back(report_on(snapshot, device, row, trees, now));
  for (const auto& device : snapshot.devices) holders.cards.push_back(sum_up(device, holders.list));
  return holders;
}

}  // namespace gpuward::control
