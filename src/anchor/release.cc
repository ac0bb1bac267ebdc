#include "anchor/release.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "anchor/children.h"
#include "os/clock.h"
#include "os/container.h"

namespace gpuward::anchor {
namespace {

constexpr int kMostAncestors = 64;
constexpr int kPasses = 8;  // over what forks while it is moved
constexpr auto kLetGoWithin = std::chrono::milliseconds(200);

}  // namespace

bool in_container_of_its_own(Pid pid) {
  const auto its = os::container_of(pid);
  return !its.empty() && its != os::container_of(self());
}

// Beside the tree's own, and called alike: "gpuward.NAME.0.released.ID".
HandedOver HandedOver::fresh(const os::Cgroup& tree) {
  HandedOver made;
  made.list_.reserve(kMost);
  if (!tree) return made;
  const std::string& path = tree.path();
  const auto slash = path.rfind('/');
  const auto dot = path.rfind('.');
  const std::string parent = path.substr(0, slash);
  const std::string name = path.substr(slash + 1, dot - slash - 1) + ".released" + path.substr(dot);
  auto group = os::Cgroup::create(tree.kind(), parent, name);
  // Those of an earlier tree that could not be moved on: they stay where they are.
  if (!group && group.error().code.value() == EBUSY)
    group = os::Cgroup::open(tree.kind(), parent + "/" + name);
  if (group) made.group_ = std::move(*group);
  return made;
}

HandedOver HandedOver::taken_over(const AnchorState& last, bool more) {
  HandedOver made;
  if (!more && !last.has_released) return made;
  made.list_.reserve(kMost);
  if (!last.released_group.empty()) {
    auto group = os::Cgroup::open(static_cast<os::CgroupKind>(last.cgroup_kind),
                                  std::string(last.released_group.view()));
    if (group) made.group_ = std::move(*group);
  }
  for (const auto& one : last.kept) made.list_.push_back(one);
  made.main_ = last.main_session;
  // The record may be older than the move.
  made.any_ = last.has_released || (made.group_ && made.group_.populated().value_or(true));
  return made;
}

bool HandedOver::known(ProcessId id) const {
  return std::ranges::find(list_, id, &Released::id) != list_.end();
}

bool HandedOver::is_one(Pid parent) const {
  if (!any_ || parent == self()) return false;
  if (group_ && group_.holds(parent)) return true;
  const auto at = std::ranges::find(list_, parent, [](const auto& one) { return one.id.pid; });
  return at != list_.end() && os::lives(at->id);
}

bool HandedOver::descends(Pid parent) const {
  for (int steps = 0; steps < kMostAncestors; ++steps) {
    if (parent.number <= 1 || parent == self() || parent == main_) return false;
    if (is_one(parent)) return true;
    const auto stat = os::read_stat(parent);
    if (!stat) return false;
    parent = stat->parent;
  }
  return false;
}

bool HandedOver::lists(const os::Process& process) const {
  if (list_.empty()) return false;
  if (known(process.id())) return true;
  const auto stat = os::read_stat(process.pid());
  if (!stat) return false;
  const bool session = stat->session && stat->session != main_ &&
                       std::ranges::find(list_, stat->session, &Released::session) != list_.end();
  return session || descends(stat->parent);
}

bool HandedOver::holds(const os::Process& process) const {
  if (!any_ || process.pid() == main_) return false;
  if ((group_ && group_.holds(process.pid())) || lists(process)) return true;
  const auto stat = os::read_stat(process.pid());
  return stat && descends(stat->parent);
}

bool HandedOver::holds(Pid pid) const {
  if (!any_) return false;
  const auto process = os::Process::open(pid);
  return process && holds(*process);
}

bool HandedOver::add(const os::Process& process, const os::ProcStat& stat) {
  if (list_.size() >= list_.capacity()) return false;
  // Its session says who comes from it, unless one leads it that is ended and not handed over.
  const Pid leader = stat.session;
  const auto other = leader != main_ && leader != process.pid()
                         ? os::Process::open(leader)
                         : Result<os::Process>(os::Process());
  const bool shared = other && *other && !known(other->id()) && os::lives(other->id());
  list_.push_back({process.id(), shared ? Pid{} : leader, stat.name});
  return true;
}

bool HandedOver::take(const os::Process& process, const os::ProcStat& stat, HandOver* told) {
  // It is held, but moved by its number: that of a process that ended in this very moment might be
  // another's already, which is then in a group where it is left alone.
  const bool movable = group_ && !in_container_of_its_own(process.pid());
  const auto moved =
      movable ? group_.enter(process.pid()) : Result<void>(fail(Errc::not_found, ""));
  if (!process.alive()) return false;
  if (!moved && !add(process, stat)) {
    told->trouble = "there are more of them than can be kept apart; the rest was ended";
    return false;
  }
  if (!moved && movable) {
    told->trouble = "pid ";
    told->trouble.append_number(process.pid().number).append(" stays in the cgroup of the service");
    if (moved.error().code.category() == std::system_category())
      told->trouble.append(": ").append(::strerrordesc_np(moved.error().code.value()));
  }
  any_ = true;
  if (!told->list.push_back({process.id(), stat.session, stat.name})) ++told->more;
  return true;
}

void HandedOver::gather() {
  if (!group_) return;
  for (int pass = 0; pass < kPasses; ++pass) {
    bool any = false;
    (void)group_.for_each_member([&](Pid pid) {
      const auto member = os::Process::open(pid);
      if (!member || !group_.holds(pid)) return;
      for_each_own_child(*member, [&](const os::Process& child, bool ended) {
        if (ended || group_.holds(child.pid())) return;
        if (!in_container_of_its_own(child.pid())) {
          any |= group_.enter(child.pid()).has_value();
        } else if (const auto stat = os::read_stat(child.pid()); stat && !known(child.id())) {
          any |= add(child, *stat);
        }
      });
    });
    if (!any) return;
  }
}

void HandedOver::follow() {
  if (!any_) return;
  const auto meet = [&](const os::Process& child, bool ended) {
    if (ended || known(child.id()) || !lists(child)) return;
    if (const auto stat = os::read_stat(child.pid())) (void)add(child, *stat);
  };
  if (!list_.empty()) {
    if (const auto us = os::Process::open(self())) for_each_own_child(*us, meet);
    for (std::size_t at = 0; at < list_.size(); ++at)  // grows on the way
      if (const auto parent = os::Process::open(list_[at].id)) for_each_own_child(*parent, meet);
    (void)std::erase_if(list_, [](const Released& one) { return !os::lives(one.id); });
  }
  any_ = !list_.empty() || (group_ && group_.populated().value_or(true));
}

void HandedOver::note(AnchorState* state) const {
  state->released_group = Text<512>(group_ ? std::string_view(group_.path()) : "");
  state->has_released |= any_;
  state->kept.clear();
  for (const auto& one : list_) state->kept.push_back(one);
}

void HandedOver::let_go() {
  if (!group_) return;
  // Over what forks meanwhile; one in the middle of its exit is not listed any more and still holds
  // the group.
  const Instant give_up = os::now() + kLetGoWithin;
  for (int pass = 0; group_ && (pass < kPasses || os::now() < give_up); ++pass) {
    if (pass >= kPasses) (void)::poll(nullptr, 0, 1);
    (void)group_.move_all_out();
    (void)group_.remove();
  }
}

}  // namespace gpuward::anchor
