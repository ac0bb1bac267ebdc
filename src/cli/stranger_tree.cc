#include "cli/stranger_tree.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <filesystem>
#include <set>

#include "os/clock.h"
#include "os/port_owner.h"
#include "os/proc_fs.h"

namespace gpuward::cli {
namespace {

constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr auto kDeathWithin = std::chrono::seconds(10);
constexpr Pid kKernelThreads{2};  // kthreadd, and the parent of all others

std::string proc(Pid pid, const char* leaf) {
  return "/proc/" + std::to_string(pid.number) + "/" + leaf;
}

std::string link_target(const std::string& path) {
  std::array<char, PATH_MAX> text;
  const ssize_t n = ::readlink(path.c_str(), text.data(), text.size());
  return n <= 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(n));
}

std::set<Pid> ancestors_of_ours() {
  std::set<Pid> all;
  for (Pid pid{::getpid()}; pid && all.insert(pid).second;) {
    const auto stat = os::read_stat(pid);
    if (!stat) break;
    pid = stat->parent;
  }
  return all;
}

bool has_ancestor_in(Pid pid, const std::vector<Pid>& list) {
  for (int steps = 0; pid && steps < 1000; ++steps) {
    const auto stat = os::read_stat(pid);
    if (!stat) return false;
    pid = stat->parent;
    if (std::ranges::find(list, pid) != list.end()) return true;
  }
  return false;
}

}  // namespace

Result<StrangerTree> StrangerTree::at(const os::TcpAddress& address) {
  StrangerTree tree;
  const auto holders = os::holders_of(os::sockets_in_the_way(address));
  for (const Pid pid : holders) {
    auto process = os::Process::open(pid);
    if (process && !has_ancestor_in(pid, holders)) tree.take_root(std::move(*process));
  }
  tree.gather();
  if (!tree.empty()) return tree;
  auto taken = os::port_taken(address);
  if (!taken) return fail(std::move(taken).error());
  if (*taken)
    return fail(Errc::refused,
                "find who holds the port: it cannot be seen from here (another user's, or the "
                "kernel's own); try as root");
  return tree;
}

Result<StrangerTree> StrangerTree::of(const ProcessId& id) {
  StrangerTree tree;
  auto process = os::Process::open(id);
  if (!process) return fail(std::move(process).error());
  tree.take_root(std::move(*process));
  tree.gather();
  if (tree.empty()) return fail(error_from(ESRCH, "hold a process that has just ended"));
  return tree;
}

void StrangerTree::take_root(os::Process process) {
  const Pid pid = process.pid();
  const auto stat = os::read_stat(pid);
  const bool leads = ::getsid(pid.number) == pid.number;
  if (!stat || !process.alive()) return;
  if (leads) sessions_.push_back(pid);
  may_come_back_ |= stat->parent.number > 1 || !unit_of(pid).empty();
  add(std::move(process), stat->parent, 0);
}

bool StrangerTree::knows(const ProcessId& id) const {
  return std::ranges::any_of(members_, [&](const Member& m) { return m.process.id() == id; });
}

bool StrangerTree::add(os::Process process, Pid parent, unsigned depth) {
  if (!process.alive() || knows(process.id())) return false;
  auto command = os::read_command(process.pid(), 400);
  members_.push_back({std::move(process), parent, depth, command ? std::move(*command) : "", {}});
  if (rules_) members_.back().spared = why_not(members_.back(), *rules_);
  return true;
}

std::size_t StrangerTree::gather() {
  const std::size_t before = members_.size();
  for (std::size_t at = 0; at < members_.size(); ++at) {  // grows on the way
    if (!members_[at].spared.empty()) continue;           // and so is what is below it
    const Pid parent = members_[at].process.pid();
    const unsigned depth = members_[at].depth + 1;
    (void)os::for_each_child(parent, [&](Pid pid) {
      auto child = os::Process::open(pid);
      const auto stat = os::read_stat(pid);
      // Its child while both are held: a number alone may name an innocent by now.
      if (child && stat && stat->parent == parent && members_[at].process.alive())
        add(std::move(*child), parent, depth);
    });
  }
  for (const Pid session : sessions_) gather_session(session);
  return members_.size() - before;
}

void StrangerTree::gather_session(Pid session) {
  (void)os::for_each_process([&](Pid pid) {
    if (::getsid(pid.number) != session.number) return;
    auto process = os::Process::open(pid);
    const auto stat = os::read_stat(pid);
    const bool inside = process && stat && ::getsid(pid.number) == session.number;
    if (inside && session_lives(session) && !is_below_spared(pid))
      add(std::move(*process), stat->parent, 1);
  });
}

// While one whom we hold is in it, its number cannot be that of another session.
bool StrangerTree::session_lives(Pid session) const {
  return std::ranges::any_of(members_, [&](const Member& m) {
    return ::getsid(m.process.pid().number) == session.number && m.process.alive();
  });
}

bool StrangerTree::is_below_spared(Pid pid) const {
  std::vector<Pid> spared;
  for (const Member& member : members_)
    if (!member.spared.empty() && member.process.alive()) spared.push_back(member.process.pid());
  return !spared.empty() && has_ancestor_in(pid, spared);
}

StrangerTree::Held StrangerTree::held(const os::TcpAddress& address) const {
  const auto holders = os::holders_of(os::sockets_in_the_way(address));
  const bool members = std::ranges::all_of(holders, [&](Pid pid) {
    const auto process = os::Process::open(pid);
    return !process || !process->alive() || knows(process->id());
  });
  if (!members) return Held::by_others;
  const auto taken = os::port_taken(address);
  const bool unseen = holders.empty() && (!taken || *taken);
  if (unseen) return Held::by_others;
  return holders.empty() ? Held::no : Held::by_members;
}

StrangerTree::Surroundings StrangerTree::Surroundings::read() {
  return {ancestors_of_ours(), link_target("/proc/self/ns/pid"),
          os::read_file("/proc/self/cgroup").value_or("")};
}

std::string StrangerTree::why_not(const Member& member, const Rules& rules) {
  StrangerFacts facts;
  facts.pid = member.process.pid();
  facts.command = member.command.substr(0, 60);
  facts.our_ancestor = rules.around.our_ancestors.contains(facts.pid);
  if (const auto stat = os::read_stat(facts.pid)) facts.role = role_of(stat->name.view());
  facts.kernel_thread = facts.pid == kKernelThreads || member.parent == kKernelThreads;
  const std::string space = link_target(proc(facts.pid, "ns/pid"));
  facts.seen = !space.empty();
  facts.same_pid_namespace = space == rules.around.pid_namespace;
  facts.container =
      container_in(os::read_file(proc(facts.pid, "cgroup")).value_or(""), rules.around.cgroups);
  facts.may_signal = member.process.signal(0).has_value();
  facts.owner = (*rules.owner_of)(facts.pid);
  auto why = why_not_ended(facts);
  return member.process.alive() ? why : std::string();
}

std::string StrangerTree::refusal(const OwnerOf& owner_of) const {
  const Rules rules{Surroundings::read(), &owner_of};
  for (const Member& member : members_) {
    if (!member.process.alive()) continue;
    if (auto why = why_not(member, rules); !why.empty()) return why;
  }
  return {};
}

// Whoever was met between its fork and its exec is somebody else by now.
void StrangerTree::judge_again() {
  for (Member& member : members_)
    if (member.spared.empty() && member.process.alive()) member.spared = why_not(member, *rules_);
}

const StrangerTree::Member* StrangerTree::first_to_end() const {
  const auto at = std::ranges::find_if(
      members_, [](const Member& m) { return m.spared.empty() && m.process.alive(); });
  return at == members_.end() ? nullptr : &*at;
}

void StrangerTree::signal_all(int number) const {
  for (const Member& member : members_)
    if (member.spared.empty()) (void)member.process.signal(number);
}

// New ones hear TERM as they are found.
bool StrangerTree::wait_until_gone(Instant deadline) {
  for (;;) {
    for (std::size_t fresh = gather(); fresh > 0; --fresh) {
      const Member& member = members_[members_.size() - fresh];
      if (member.spared.empty()) (void)member.process.signal(SIGTERM);
    }
    const Member* alive = first_to_end();
    if (alive == nullptr) return gather() == 0;
    const Instant now = os::now();
    if (now >= deadline) return false;
    pollfd item{alive->process.poll_fd(), POLLIN, 0};
    (void)::poll(&item, 1, os::poll_timeout(std::min(deadline, now + kLookAgain)));
  }
}

// Nothing stops forks but stopping the forkers first.
void StrangerTree::kill_all() {
  const Instant give_up = os::now() + kDeathWithin;
  judge_again();
  do {
    do {
      signal_all(SIGSTOP);
    } while (gather() != 0 && os::now() < give_up);
    signal_all(SIGKILL);
    const Member* alive = first_to_end();
    if (alive == nullptr) continue;
    pollfd item{alive->process.poll_fd(), POLLIN, 0};
    (void)::poll(&item, 1, os::poll_timeout(os::now() + kLookAgain));
  } while (first_to_end() != nullptr && os::now() < give_up);
}

StrangerTree::Ended StrangerTree::end(std::chrono::milliseconds grace, const OwnerOf& owner_of) {
  const Instant began = os::now();
  rules_ = Rules{Surroundings::read(), &owner_of};
  Ended ended;
  gather();
  signal_all(SIGTERM);
  signal_all(SIGCONT);  // a stopped process hears TERM only when it runs again
  // The grace is theirs from TERM on: finding them may have taken long on a crowded host.
  if (!wait_until_gone(os::now() + grace)) {
    ended.forced = true;
    kill_all();
  }
  rules_.reset();
  for (const Member& member : members_)
    if (member.process.alive()) ended.survivors.push_back(&member);
  ended.count = members_.size() - ended.survivors.size();
  ended.took = os::now() - began;
  return ended;
}

Survivor survivor_of(const StrangerTree::Member& member) {
  Survivor survivor;
  survivor.pid = member.process.pid();
  if (const auto stat = os::read_stat(survivor.pid)) {
    survivor.name = stat->name;
    survivor.state = static_cast<std::uint8_t>(stat->state);
  }
  survivor.wchan = os::read_wchan(survivor.pid);
  return survivor;
}

std::string folder_of(Pid pid) {
  return link_target(proc(pid, "cwd"));
}

std::string unit_of(Pid pid) {
  return unit_in(os::read_file(proc(pid, "cgroup")).value_or(""),
                 os::read_file("/proc/self/cgroup").value_or(""));
}

namespace {

bool is_open_for_writing(Pid pid, std::string_view fd) {
  const auto info = os::read_file(proc(pid, "fdinfo/") + std::string(fd));
  const auto at = info ? info->find("flags:") : std::string::npos;
  if (at == std::string::npos) return false;
  const auto flags = std::strtoul(info->c_str() + at + 6, nullptr, 8);
  return (flags & O_ACCMODE) != O_RDONLY;
}

}  // namespace

std::vector<std::string> files_of(Pid pid, std::size_t most) {
  std::set<std::string> files;
  std::error_code code;
  auto fds = os::Fd::open(proc(pid, "fd"), O_RDONLY | O_DIRECTORY);
  if (fds)
    (void)os::for_each_entry(*fds, [&](std::string_view name, bool) {
      std::string path = link_target(proc(pid, "fd/") + std::string(name));
      const bool file = path.starts_with('/') && !path.starts_with("/dev/") &&
                        std::filesystem::is_regular_file(path, code);
      if (file && is_open_for_writing(pid, name)) files.insert(std::move(path));
      return files.size() < most;
    });
  const std::string folder = folder_of(pid);
  std::filesystem::directory_iterator at(folder, code);
  for (int looked = 0; !code && at != std::filesystem::directory_iterator() && looked < 1000;
       at.increment(code), ++looked) {
    if (at->path().extension() != ".pid" || files.size() >= most) continue;
    auto file = os::Fd::open_regular_at(os::Fd(), at->path().c_str(), O_RDONLY);
    std::array<char, 32> text{};
    const ssize_t n = file ? ::read(file->get(), text.data(), text.size() - 1) : 0;
    if (n > 0 && std::atol(text.data()) == pid.number) files.insert(at->path().string());
  }
  return {files.begin(), files.end()};
}

}  // namespace gpuward::cli
