#include "anchor/tree.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "anchor/children.h"
#include "domain/glob.h"
#include "os/clock.h"
#include "os/listeners.h"
#include "os/proc_fs.h"

namespace gpuward::anchor {
namespace {

constexpr std::size_t kMostWalked = 4096;  // what is beyond comes up as its parents end
constexpr std::size_t kMostInherited = 1024;
constexpr auto kChase = std::chrono::milliseconds(10);
constexpr int kMostAncestors = 64;  // asked for each notification

struct KnownListeners {
  std::array<os::Listener, 512> items{};
  std::size_t count = 0;
  bool all = true;

  void collect() {
    (void)os::for_each_listener([&](const os::Listener& listener) {
      if (listener.inode == 0) return;
      all &= count < items.size();
      if (all) items[count++] = listener;
    });
  }
  const os::Listener* find(std::uint64_t inode) const {
    const auto* end = items.data() + count;
    const auto* at =
        std::find_if(items.data(), end, [&](const auto& item) { return item.inode == inode; });
    return at == end ? nullptr : at;
  }
};

bool has(const std::vector<ProcessId>& list, ProcessId id) {
  return std::ranges::find(list, id) != list.end();
}

}  // namespace

Tree Tree::fresh(os::Cgroup cgroup) {
  Tree tree;
  tree.cgroup_ = std::move(cgroup);
  tree.seen_.reserve(kMostSeen);
  tree.last_seen_.reserve(kMostSeen);
  tree.walked_.reserve(kMostWalked);
  return tree;
}

Tree Tree::taken_over(os::Cgroup cgroup, const std::vector<ProcessId>& inherited,
                      std::string_view variable, HandedOver over,
                      const std::vector<ProcessId>* marked) {
  Tree tree = fresh(std::move(cgroup));
  tree.handed_over_ = std::move(over);
  tree.taken_over_ = true;
  tree.variable_ = Text<48>(variable);
  tree.inherited_.reserve(std::max(inherited.size(), kMostInherited));
  for (const auto& id : inherited)
    if (auto process = os::Process::open(id)) tree.inherit(*process);
  if (marked == nullptr || !tree.inherit_marked(*marked)) (void)tree.find_marked();
  return tree;
}

bool Tree::find_marked() const {
  bool any = false;
  if (!taken_over_ || variable_.empty()) return any;
  (void)os::for_each_process([&](Pid pid) {
    if (!os::environment_has(pid, variable_)) return;  // most do not, and need not be held for it
    const auto process = os::Process::open(pid);
    any |= process && inherit_if_marked(*process);
  });
  return any;
}

// Held while its environment is read.
bool Tree::inherit_if_marked(const os::Process& process) const {
  if (!os::environment_has(process.pid(), variable_) || !process.alive()) return false;
  if (handed_over_.holds(process)) return false;
  inherit(process);
  return true;
}

// @return whether that is all that has to be known: where some were found and none of them lives
// any more, they may have left children to nobody.
bool Tree::inherit_marked(const std::vector<ProcessId>& marked) const {
  bool enough = marked.empty();
  for (const auto& id : marked) {
    const auto process = os::Process::open(id);
    enough |= process && inherit_if_marked(*process);
  }
  return enough;
}

void Tree::inherit(const os::Process& process) const {
  const bool known = (cgroup_ && cgroup_.holds(process.pid())) || has(inherited_, process.id()) ||
                     handed_over_.holds(process);
  if (!known && inherited_.size() < inherited_.capacity()) inherited_.push_back(process.id());
}

// Parents before children. An orphan comes to us while we look: it is met in the next walk.
template <class Visit>
void Tree::for_each_descendant(Visit&& visit) const {
  walked_.clear();
  const auto meet = [&](const os::Process& process, bool ended) {
    if (!ended && handed_over_.holds(process)) return;
    if (!ended && process.id() != space_.first().id()) visit(process);
    if (walked_.size() < walked_.capacity()) walked_.push_back(process.id());
  };
  auto us = os::Process::open(self());
  if (us) for_each_own_child(*us, meet);
  for (std::size_t at = 0; at < walked_.size(); ++at) {  // grows on the way
    auto parent = os::Process::open(walked_[at]);
    if (parent) for_each_own_child(*parent, meet);
  }
}

// Visits what was inherited and lives, and all that descends from it.
template <class Visit>
void Tree::for_each_inherited(Visit&& visit) const {
  if (taken_over_ && space_.alive()) inherit_strays_of(space_.first());
  for (std::size_t at = 0; at < inherited_.size(); ++at) {  // grows on the way
    auto process = os::Process::open(inherited_[at]);
    if (!process || !os::lives(process->id())) continue;
    visit(*process);
    for_each_own_child(*process, [&](const os::Process& child, bool ended) {
      const bool member = cgroup_ && cgroup_.holds(child.pid());
      if (ended || member || has(inherited_, child.id()) || handed_over_.holds(child)) return;
      if (inherited_.size() < inherited_.capacity())
        inherited_.push_back(child.id());
      else
        visit(child);  // more than can be listed: met again, through its parent, next time
    });
  }
  std::erase_if(inherited_, [](ProcessId id) { return !os::lives(id); });
}

// What a member of a taken-over cgroup started, and what has left the cgroup since.
void Tree::inherit_strays_of(const os::Process& member) const {
  for_each_own_child(member, [&](const os::Process& child, bool ended) {
    if (!ended) inherit(child);
  });
}

template <class Visit>
void Tree::for_each_outside(Visit&& visit) const {
  for_each_descendant([&](const os::Process& process) {
    if (!cgroup_ || !cgroup_.holds(process.pid())) visit(process);
  });
  for_each_inherited(visit);
}

template <class Visit>
void Tree::for_each(Visit&& visit) const {
  if (cgroup_) {
    (void)cgroup_.for_each_member([&](Pid pid) {
      auto process = os::Process::open(pid);
      // Membership is read after the pidfd is held, so it is that process's own.
      if (!process || !cgroup_.holds(pid) || handed_over_.lists(*process)) return;
      visit(*process);
      if (taken_over_) inherit_strays_of(*process);
    });
  }
  for_each_outside(visit);
}

bool Tree::look() {
  seen_.swap(last_seen_);
  seen_.clear();
  handed_over_.follow();
  for_each_outside([&](const os::Process& process) {
    if (seen_.size() < kMostSeen) seen_.push_back(process.id());
  });
  return !std::ranges::is_permutation(seen_, last_seen_);
}

void Tree::forget_if_gone() {
  if (cgroup_ && !cgroup_.exists()) cgroup_.stop_watching();
}

Result<void> Tree::renew() {
  if (!cgroup_ || cgroup_.exists()) return {};
  const std::string path = cgroup_.path();
  const auto slash = path.rfind('/');
  auto group = os::Cgroup::create(cgroup_.kind(), path.substr(0, slash), path.substr(slash + 1));
  if (!group) return fail(std::move(group).error());
  cgroup_ = std::move(*group);
  return {};
}

void Tree::thaw() const {
  if (cgroup_) (void)cgroup_.freeze(false);
}

bool Tree::close_space() const {
  if (!space_.alive()) return false;
  bool alone = true;
  for_each([&](const os::Process&) { alone = false; });
  if (alone) space_.kill();
  return alone;
}

// One generation of children is enough: what is below one that was handed over is so itself. A
// child that cannot be held any more may just have left another one to us, the newest in our list.
bool Tree::only_handed_over_below() const {
  bool only = handed_over_.any();
  if (!only) return false;
  const auto listed = os::for_each_child(self(), [&](Pid pid) {
    const auto child = os::Process::open(pid);
    only = only && child && handed_over_.holds(*child);
  });
  return listed && only;
}

bool Tree::empty(bool childless) const {
  if (space_.alive() || std::ranges::any_of(inherited_, os::lives)) return false;
  if (!childless && !only_handed_over_below()) return false;
  if (!cgroup_) return true;
  auto populated = cgroup_.populated();
  if (!populated || !*populated || !handed_over_.lists_any()) return populated && !*populated;
  bool others = false;  // beside those that could not be moved out of it
  const auto listed = cgroup_.for_each_member([&](Pid pid) {
    const auto process = os::Process::open(pid);
    others |= !process || !handed_over_.lists(*process);
  });
  return listed && !others;
}

void Tree::hand_over(const std::vector<std::string>& patterns, const os::Process& main,
                     HandOver* told) {
  if (patterns.empty() || space_) return;  // nobody leaves a PID namespace
  constexpr int kMostPasses = 64;
  std::array<char, 4096> words;
  bool any = true;
  for (int pass = 0; any && pass < kMostPasses; ++pass) {
    any = false;
    for_each([&](const os::Process& process) {
      const auto stat = os::read_stat(process.pid());
      if (process.id() == main.id() || !stat || stat->ended()) return;
      const auto text = os::read_words(process.pid(), words);
      const auto matches = [&](const auto& pattern) { return glob_matches(pattern, text); };
      const bool named = !text.empty() && std::ranges::any_of(patterns, matches);
      if (!named && !handed_over_.is_one(stat->parent)) return;
      any |= process.alive() && handed_over_.take(process, *stat, told);
    });
    handed_over_.gather();
    handed_over_.follow();
  }
  for (auto* list : {&inherited_, &seen_})
    std::erase_if(*list, [&](ProcessId id) {
      const auto process = os::Process::open(id);
      return process && handed_over_.holds(*process);
    });
}

void Tree::give_up(HandOver* told) {
  told->all = true;
  for_each([&](const os::Process& process) {
    const auto stat = os::read_stat(process.pid());
    if (!stat) return;
    if (!told->list.push_back({process.id(), stat->session, stat->name})) ++told->more;
  });
  seen_.clear();
}

Result<void> Tree::let_go() {
  handed_over_.let_go();
  return cgroup_ ? cgroup_.move_all_out() : Result<void>();
}

std::uint32_t Tree::terminate(const os::Process& main) const {
  std::uint32_t count = 0;
  if (main && main.signal(SIGTERM)) ++count;
  for_each([&](const os::Process& process) {
    if (process.id() == main.id()) return;
    if (process.signal(SIGTERM)) ++count;
    // A stopped process hears TERM only when it runs again.
    (void)process.signal(SIGCONT);
  });
  if (main) (void)main.signal(SIGCONT);
  return count;
}

// Who forks and ends at once is gone when a walk over everybody comes to it. Its orphans come to us
// one after the other, the newest last in our list: those are met again and again.
void Tree::chase() const {
  const Instant give_up = os::now() + kChase;
  bool any = true;
  while (any && os::now() < give_up) {
    std::array<Pid, 8> newest{};
    std::size_t count = 0;
    (void)os::for_each_child(self(), [&](Pid pid) { newest[count++ % newest.size()] = pid; });
    any = false;
    for (const Pid pid : newest) {
      if (!pid) continue;
      const auto child = os::Process::open(pid);
      const auto stat = os::read_stat(pid);
      if (!child || !stat || stat->parent != self() || stat->ended()) continue;
      if ((cgroup_ && cgroup_.holds(pid)) || handed_over_.holds(*child)) continue;
      any |= child->signal(SIGKILL).has_value();
    }
  }
}

void Tree::kill_pass(bool first) const {
  space_.kill();  // and with it, by the kernel, whoever is inside
  if (cgroup_) {
    // Not where some are in it that were handed over and could not be moved.
    const bool whole = !handed_over_.lists_any();
    const bool frozen = whole && cgroup_.freeze(true).has_value();
    const bool killed = whole && cgroup_.kill().has_value();
    // Naming 2,000 processes that one write has just killed costs as much as their death: what
    // cgroup.kill misses (leaderless processes, some that moved away) is named by the next pass.
    if (!killed || !first)
      for_each([](const os::Process& process) { (void)process.signal(SIGKILL); });
    // What the kernel kills dies frozen, and sooner if nothing walks through its dying members. It
    // is thawed by the next pass, or when it is empty; of a dead anchor's, by whoever adopts it.
    if (frozen && (!killed || !first)) (void)cgroup_.freeze(false);
    cgroup_.let_end();
    if (!first) chase();
    return;
  }
  // What was born to nobody since the last pass.
  if (!first) (void)find_marked();
  // Without a cgroup nothing stops forks but stopping the forkers first. A child that an inherited
  // process was just forking is met by a second look; later it would be nobody's.
  const auto stop = [](const os::Process& process) { (void)process.signal(SIGSTOP); };
  for_each(stop);
  if (!inherited_.empty()) for_each(stop);
  for_each([](const os::Process& process) { (void)process.signal(SIGKILL); });
  chase();
}

void Tree::note(std::uint32_t* members, InlineVec<std::uint16_t, 32>* ports,
                std::uint32_t most) const {
  KnownListeners listeners;
  listeners.collect();
  *members = 0;
  for_each([&](const os::Process& process) {
    ++*members;
    if (listeners.count == 0) return;
    if (*members > most) {
      listeners.all = false;
      return;
    }
    (void)os::for_each_socket(process.pid(), [&](std::uint64_t inode) {
      const auto* listener = listeners.find(inode);
      if (listener != nullptr &&
          std::find(ports->begin(), ports->end(), listener->port) == ports->end())
        ports->push_back(listener->port);
    });
  });
  if (!listeners.all) ports->set_dropped(ports->dropped() + 1);
}

bool Tree::contains(Pid pid) const {
  if (handed_over_.holds(pid)) return false;
  if (cgroup_ && cgroup_.holds(pid)) return true;
  for (int steps = 0; pid && steps < kMostAncestors; ++steps) {
    if (pid == self()) return steps > 0;
    if (std::ranges::find(inherited_, pid, &ProcessId::pid) != inherited_.end()) return true;
    const auto stat = os::read_stat(pid);
    if (!stat) return false;
    pid = stat->parent;
  }
  return false;
}

std::optional<bool> Tree::listens_on(std::uint16_t port) const {
  KnownListeners all;
  all.collect();
  bool known = false;
  for (std::size_t at = 0; at < all.count; ++at) known |= all.items[at].port == port;
  if (!known || !all.all) return std::nullopt;
  bool found = false;
  bool blind = false;
  for_each([&](const os::Process& process) {
    if (found) return;
    auto seen = os::for_each_socket(process.pid(), [&](std::uint64_t inode) {
      const auto* listener = all.find(inode);
      found |= listener != nullptr && listener->port == port;
    });
    blind |= !seen;
  });
  if (!found && blind) return std::nullopt;
  return found;
}

void Tree::name_survivors(InlineVec<Survivor, 16>* survivors) const {
  for_each([&](const os::Process& process) {
    Survivor survivor;
    survivor.pid = process.pid();
    if (auto stat = os::read_stat(process.pid())) {
      survivor.name = stat->name;
      survivor.state = static_cast<std::uint8_t>(stat->state);
    }
    survivor.wchan = os::read_wchan(process.pid());
    survivors->push_back(survivor);
  });
}

void Tree::remove() {
  handed_over_.let_go();
  if (cgroup_) (void)cgroup_.remove();
}

}  // namespace gpuward::anchor
