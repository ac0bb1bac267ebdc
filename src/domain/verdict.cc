#include "domain/verdict.h"

#include <algorithm>

namespace gpuward {

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::stopped:
      return "STOPPED";
    case Verdict::starting:
      return "STARTING";
    case Verdict::healthy:
      return "HEALTHY";
    case Verdict::draining:
      return "DRAINING";
    case Verdict::backing_off:
      return "BACKING_OFF";
    case Verdict::failed:
      return "FAILED";
    case Verdict::unkillable:
      return "UNKILLABLE";
    case Verdict::loading:
      return "LOADING";
    case Verdict::paused:
      return "PAUSED";
    case Verdict::parked:
      return "PARKED";
    case Verdict::ghost_nocontext:
      return "GHOST_NOCTX";
    case Verdict::ghost_sticky:
      return "GHOST_STICKY";
    case Verdict::stalled:
      return "STALLED";
    case Verdict::spinning:
      return "SPINNING";
    case Verdict::answers_changed:
      return "ANSWERS_CHANGED";
    case Verdict::gpu_lost:
      return "GPU_LOST";
  }
  return "UNKNOWN";
}

bool is_sick(Verdict verdict) {
  switch (verdict) {
    case Verdict::failed:
    case Verdict::unkillable:
    case Verdict::ghost_nocontext:
    case Verdict::ghost_sticky:
    case Verdict::stalled:
    case Verdict::spinning:
    case Verdict::answers_changed:
    case Verdict::gpu_lost:
      return true;
    default:
      return false;
  }
}

std::string_view to_string(Action action) {
  switch (action) {
    case Action::none:
      return "none";
    case Action::watch:
      return "watch";
    case Action::restart:
      return "restart";
    case Action::look_into:
      return "look_into";
    case Action::check_answers:
      return "check_answers";
    case Action::mend_gpu:
      return "mend_gpu";
    case Action::keep_running:
      return "keep_running";
    case Action::wait_for_kernel:
      return "wait_for_kernel";
  }
  return "unknown";
}

std::string_view describe(Action action) {
  switch (action) {
    case Action::none:
      return {};
    case Action::watch:
      return "nothing yet: it is watched";
    case Action::restart:
      return "restart it: its process cannot use the GPU again";
    case Action::look_into:
      return "look into it before it is restarted: nothing says why";
    case Action::check_answers:
      return "compare its answers by hand, and trust none until then; nothing is restarted for it";
    case Action::mend_gpu:
      return "mend the card first (reset, reboot); a restart would only fail again";
    case Action::keep_running:
      return "do not restart it: what runs works, and a new process could not use the GPU before "
             "the driver is loaded again";
    case Action::wait_for_kernel:
      return "nothing ends these processes but the kernel; what they hold stays held";
  }
  return {};
}

Verdict judge(const AnchorState& state) {
  switch (state.phase) {
    case Phase::idle:
    case Phase::starting:
      return Verdict::starting;
    case Phase::ready:
      return Verdict::healthy;
    case Phase::ending:
    case Phase::settling:
      return Verdict::draining;
    case Phase::backing_off:
      return Verdict::backing_off;
    case Phase::failed:
      return Verdict::failed;
    case Phase::unkillable:
      return Verdict::unkillable;
    case Phase::stopped:
      break;
  }
  return Verdict::stopped;
}

std::string sentence_on(const AnchorState& state, Verdict verdict, Instant now) {
  const auto age = to_string(now.time_since_epoch() - std::chrono::nanoseconds(state.since_ns));
  const std::string reason(state.reason.view());
  switch (verdict) {
    case Verdict::healthy: {
      std::string text = "ready for " + age;
      if (!state.ready_evidence.empty()) text += ", " + std::string(state.ready_evidence.view());
      return text;
    }
    case Verdict::starting:
      return "starting for " + age + ", not ready yet";
    case Verdict::draining:
      return "being stopped for " + age;
    case Verdict::backing_off: {
      const auto left = std::chrono::nanoseconds(state.next_ns) - now.time_since_epoch();
      return (reason.empty() ? "ended with code 0" : reason) + "; next start in " +
             to_string(std::max(left, std::chrono::nanoseconds(0)));
    }
    case Verdict::failed:
      return reason.empty() ? "failed" : reason;
    case Verdict::unkillable:
      return "processes are left that the kernel does not end, for " + age;
    default:
      break;
  }
  if (!reason.empty()) return "stopped; " + reason;
  return "stopped";
}

}  // namespace gpuward
