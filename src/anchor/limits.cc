#include "anchor/limits.h"

#include <cstring>
#include <string>

namespace gpuward::anchor {
namespace {

// Error::message() would allocate.
Text<200> say(const Error& error) {
  Text<200> text(error.doing);
  if (error.code.category() == std::system_category())
    text.append(": ").append(::strerrordesc_np(error.code.value()));
  return text;
}

std::uint32_t since(std::uint64_t before, std::uint64_t now) {
  return now > before ? static_cast<std::uint32_t>(now - before) : 0;
}

}  // namespace

Result<Limits> Limits::fresh(const TreeLimits& wanted, const os::Cgroup& tree,
                             std::string_view name, LimitState* state) {
  Limits limits;
  if (wanted.memory_max.count != 0) {
    auto group = os::ControllerGroup::create(os::Controller::memory, tree, name);
    auto set = group ? group->set_memory_max(wanted.memory_max) : fail(group.error());
    if (!set) {
      if (group) (void)group->remove();
      Error error(set.error().code, "apply 'memory_max': ");
      error.doing.append(set.error().doing);
      return fail(error);
    }
    limits.memory_ = std::move(*group);
  } else if (tree && tree.kind() == os::CgroupKind::v2) {
    // No limit of ours, but where the controller is on, the kernel counts for the tree.
    if (auto group = os::ControllerGroup::open(os::Controller::memory, tree.path()))
      limits.memory_ = std::move(*group);
  }
  if (wanted.cpu_weight != 0) {
    auto group = os::ControllerGroup::create(os::Controller::cpu, tree, name);
    const auto set = group ? group->set_cpu_weight(wanted.cpu_weight) : fail(group.error());
    if (set)
      limits.cpu_ = std::move(*group);
    else
      state->cpu_trouble = say(set.error());
    if (!set && group) (void)group->remove();
  }
  state->memory_group = Text<512>(limits.memory_.path());
  state->cpu_group = Text<512>(limits.cpu_.path());
  return limits;
}

Limits Limits::taken_over(const LimitState& state) {
  Limits limits;
  const auto open = [](os::Controller what, std::string_view path, os::ControllerGroup* into) {
    if (path.empty()) return;
    if (auto group = os::ControllerGroup::open(what, std::string(path))) *into = std::move(*group);
  };
  open(os::Controller::memory, state.memory_group, &limits.memory_);
  open(os::Controller::cpu, state.cpu_group, &limits.cpu_);
  return limits;
}

Result<void> Limits::renew(const TreeLimits& wanted, LimitState* state) {
  GPUWARD_TRY(memory_.renew());
  if (wanted.memory_max.count != 0) {
    if (!memory_) return fail(Errc::not_found, "apply 'memory_max': its group is gone");
    GPUWARD_TRY(memory_.set_memory_max(wanted.memory_max));
  }
  state->memory_trouble.clear();
  if (cpu_) {
    auto set = cpu_.renew();
    if (set) set = cpu_.set_cpu_weight(wanted.cpu_weight);
    state->cpu_trouble = set ? Text<200>() : say(set.error());
  }
  state->kills_before = memory_.memory_kills().value_or(0);
  state->kills = 0;
  return {};
}

Result<void> Limits::enter(Pid main) const {
  GPUWARD_TRY(memory_.enter(main));
  return cpu_.enter(main);
}

void Limits::let_out(Pid process) const {
  memory_.let_out(process);
  cpu_.let_out(process);
}

void Limits::change(const TreeLimits& wanted, LimitState* state) const {
  if (memory_ && wanted.memory_max.count != 0) {
    const auto set = memory_.set_memory_max(wanted.memory_max);
    state->memory_trouble = set ? Text<200>() : say(set.error());
  }
  if (cpu_ && wanted.cpu_weight != 0) {
    const auto set = cpu_.set_cpu_weight(wanted.cpu_weight);
    state->cpu_trouble = set ? Text<200>() : say(set.error());
  }
}

void Limits::count_kills(LimitState* state) const {
  if (const auto now = memory_.memory_kills()) state->kills = since(state->kills_before, *now);
}

void Limits::remove() {
  (void)memory_.remove();
  (void)cpu_.remove();
}

}  // namespace gpuward::anchor
