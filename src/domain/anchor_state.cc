#include "domain/anchor_state.h"

#include "domain/exit_code.h"

namespace gpuward {

std::string_view to_string(Containment level) {
  if (level == Containment::pidns) return "pidns";
  return level == Containment::cgroup ? "cgroup" : "subreaper";
}

std::string_view limits_of(Containment level) {
  if (level == Containment::cgroup) return {};
  if (level == Containment::pidns)
    return "the process numbers that it writes or sends mean others outside its namespace, and it "
           "cannot be parked";
  return "without cgroups a crash of the anchor loses processes that left their parent in the 5 "
         "seconds before it, or after it";
}

std::string_view to_string(LogAlarm alarm) {
  switch (alarm) {
    case LogAlarm::none:
      break;
    case LogAlarm::traceback:
      return "a Python traceback";
    case LogAlarm::cuda_error:
      return "a CUDA error";
    case LogAlarm::device_assert:
      return "a device-side assert";
    case LogAlarm::out_of_memory:
      return "CUDA out of memory";
  }
  return {};
}

Phase phase_of(const Life& life) {
  struct Namer {
    Phase operator()(const life::Idle&) const { return Phase::idle; }
    Phase operator()(const life::Starting&) const { return Phase::starting; }
    Phase operator()(const life::Ready&) const { return Phase::ready; }
    Phase operator()(const life::Ending& ending) const {
      return ending.stage == life::Stage::unkillable ? Phase::unkillable : Phase::ending;
    }
    Phase operator()(const life::Settling&) const { return Phase::settling; }
    Phase operator()(const life::BackingOff&) const { return Phase::backing_off; }
    Phase operator()(const life::Over& over) const {
      return over.failed ? Phase::failed : Phase::stopped;
    }
  };
  return std::visit(Namer{}, life.state);
}

bool is_over(Phase phase) {
  return phase == Phase::stopped || phase == Phase::failed;
}

bool is_left_over_of(const AnchorState& state, std::string_view mark, bool led, bool main_lives) {
  if (mark.empty() || state.tree_variable.view() != mark) return false;
  return is_over(state.phase) || (!led && !main_lives);
}

Text<96> describe_kills(const LimitState& state, const TreeLimits& limits) {
  Text<96> text;
  if (state.kills == 0) return text;
  text.append("the kernel killed ")
      .append_number(state.kills)
      .append(" of its processes for memory");
  if (limits.memory_max.count == 0) return text;
  return text.append(" (memory_max ").append(to_string(limits.memory_max)).append(")");
}

bool starts_containers(const LaunchPlan& plan) {
  // Plans of older versions say nothing of it.
  return plan.container.hold != ContainerHold::none ||
         !read_container_command(plan.command).engine.empty();
}

namespace {

std::string_view why_container_not_proven(const AnchorState& state, const LaunchPlan& plan) {
  if (!starts_containers(plan) || state.receipt.generation == 0) return {};
  if (plan.container.hold == ContainerHold::by_id)
    return why_not_proven(state.receipt.container_proof);
  if (!plan.container.why.empty()) return plan.container.why;
  return "its command starts containers, which live outside its tree";
}

}  // namespace

std::string_view why_not_proven(const AnchorState& state, const LaunchPlan& plan) {
  if (state.phase == Phase::unkillable || !state.receipt.survivors.empty())
    return "processes are left";
  if (const auto why = why_container_not_proven(state, plan); !why.empty()) return why;
  if (!state.receipt.released.trouble.empty())
    return "what was to be handed over could not be kept apart: see its receipt";
  if (state.receipt.memory == MemoryProof::held) return "its GPU memory was not back in time";
  if (state.receipt.only_seen)
    return "all that was seen has ended, but its first anchor had died, and of what is in no "
           "cgroup what left its parent unseen is not known";
  return {};
}

bool may_live_on(const AnchorState& state, const LaunchPlan& plan) {
  if (state.doubt || state.has_released || starts_containers(plan)) return true;
  const bool held = !state.cgroup.empty() || state.level == Containment::pidns;
  return !is_over(state.phase) && (!held || state.outside != 0);
}

int stop_exit_code(const AnchorState& state, const LaunchPlan& plan) {
  return why_not_proven(state, plan).empty() ? kDone : kNotProven;
}

std::string_view to_string(MemoryProof proof) {
  switch (proof) {
    case MemoryProof::none:
      return "none";
    case MemoryProof::returned:
      return "returned";
    case MemoryProof::not_visible:
      return "not_visible";
    case MemoryProof::held:
      return "held";
  }
  return "not_visible";
}

}  // namespace gpuward
