#include "domain/report.h"

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
  }
  return "UNKNOWN";
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
    case Verdict::stopped:
      break;
  }
  if (!reason.empty()) return "stopped; " + reason;
  return "stopped";
}

std::string_view to_string(KernelLogSight sight) {
  switch (sight) {
    case KernelLogSight::off:
      return "off";
    case KernelLogSight::read:
      return "read";
    case KernelLogSight::no_permission:
      return "no-permission";
    case KernelLogSight::absent:
      return "absent";
    case KernelLogSight::failed:
      return "failed";
  }
  return "failed";
}

std::string describe(const KernelLogReport& log) {
  const std::string tail = log.detail.empty() ? "" : " (" + log.detail + ")";
  switch (log.sight) {
    case KernelLogSight::off:
      return "Xids are not seen: the configuration says that the kernel's log is not read";
    case KernelLogSight::read:
      break;
    case KernelLogSight::no_permission:
      return "Xids are not seen: no permission to read the kernel's log" + tail;
    case KernelLogSight::absent:
      return "Xids are not seen: there is no kernel log here" + tail;
    case KernelLogSight::failed:
      return "Xids are not seen: the kernel's log cannot be read" + tail;
  }
  if (log.lost == 0) return {};
  return std::to_string(log.lost) +
         " records of the kernel's log were overwritten before they could be read: an Xid may be "
         "missing";
}

}  // namespace gpuward
