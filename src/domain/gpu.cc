#include "domain/gpu.h"

namespace gpuward {

std::string_view to_string(Answer answer) {
  switch (answer) {
    case Answer::not_asked:
      return "not_asked";
    case Answer::known:
      return "known";
    case Answer::not_supported:
      return "not_supported";
    case Answer::no_permission:
      return "no_permission";
    case Answer::cannot_see:
      return "cannot_see";
    case Answer::not_yet:
      return "not_yet";
    case Answer::failed:
      break;
  }
  return "failed";
}

std::string_view to_string(GpuSight sight) {
  switch (sight) {
    case GpuSight::unknown:
      return "unknown";
    case GpuSight::visible:
      return "visible";
    case GpuSight::no_library:
      return "no_library";
    case GpuSight::no_driver:
      return "no_driver";
    case GpuSight::no_gpu:
      return "no_gpu";
    case GpuSight::mismatch:
      return "mismatch";
    case GpuSight::no_permission:
      return "no_permission";
    case GpuSight::hung:
      return "hung";
    case GpuSight::cut_off:
      return "cut_off";
    case GpuSight::failed:
      break;
  }
  return "failed";
}

std::string_view to_string(GpuState state) {
  switch (state) {
    case GpuState::ok:
      return "ok";
    case GpuState::lost:
      return "lost";
    case GpuState::reset_required:
      return "reset_required";
    case GpuState::suspect:
      return "suspect";
    case GpuState::cut_off:
      return "cut_off";
    case GpuState::unreadable:
      break;
  }
  return "unreadable";
}

std::string_view to_string(Pairing pairing) {
  switch (pairing) {
    case Pairing::paired:
      return "paired";
    case Pairing::gone:
      return "gone";
    case Pairing::young:
      return "young";
    case Pairing::foreign:
      return "foreign";
    case Pairing::unknown:
      break;
  }
  return "unknown";
}

std::string_view to_string(GpuAdvice advice) {
  switch (advice) {
    case GpuAdvice::none:
      return "none";
    case GpuAdvice::reset:
      return "reset";
    case GpuAdvice::reboot:
      return "reboot";
    case GpuAdvice::drain_p2p:
      return "drain_p2p";
    case GpuAdvice::drain_and_reset:
      return "drain_and_reset";
    case GpuAdvice::recover_imex:
      return "recover_imex";
  }
  return "unknown";
}

std::string_view to_string(GpuDistance distance) {
  switch (distance) {
    case GpuDistance::same_board:
      return "same_board";
    case GpuDistance::one_switch:
      return "one_switch";
    case GpuDistance::several_switches:
      return "several_switches";
    case GpuDistance::host_bridge:
      return "host_bridge";
    case GpuDistance::numa_node:
      return "numa_node";
    case GpuDistance::system:
      break;
  }
  return "system";
}

std::string_view to_string(GpuEventKind kind) {
  switch (kind) {
    case GpuEventKind::ecc_corrected:
      return "ecc_corrected";
    case GpuEventKind::ecc_uncorrected:
      return "ecc_uncorrected";
    case GpuEventKind::xid:
      return "xid";
    case GpuEventKind::mig_changed:
      return "mig_changed";
    case GpuEventKind::ecc_storm:
      return "ecc_storm";
    case GpuEventKind::retirement:
      return "retirement";
    case GpuEventKind::retirement_failed:
      return "retirement_failed";
    case GpuEventKind::poison_contained:
      return "poison_contained";
    case GpuEventKind::poison_fatal:
      return "poison_fatal";
    case GpuEventKind::unavailable:
      return "unavailable";
    case GpuEventKind::recovery_action:
      return "recovery_action";
    case GpuEventKind::other:
      break;
  }
  return "other";
}

std::string describe(GpuSight sight, const std::string& detail) {
  const std::string tail = detail.empty() ? "" : " (" + detail + ")";
  switch (sight) {
    case GpuSight::visible:
      return {};
    case GpuSight::unknown:
      return detail.empty() ? "not looked at yet; see: gpuward ps"
                            : "the GPUs have not answered yet" + tail;
    case GpuSight::no_library:
      return "no GPU driver library here" + tail;
    case GpuSight::no_driver:
      return "the GPU driver is not loaded" + tail;
    case GpuSight::no_gpu:
      return "the driver sees no GPU" + tail;
    case GpuSight::mismatch:
      return "the driver was changed underneath: a reboot or module reload is due" + tail;
    case GpuSight::no_permission:
      return "no permission to see the GPUs" + tail;
    case GpuSight::hung:
      return "the GPU driver does not answer" + tail;
    case GpuSight::cut_off:
      return "this container has lost its GPU devices; those outside may be well" + tail;
    case GpuSight::failed:
      break;
  }
  return "the GPUs cannot be read" + tail;
}

std::string restarts_blocked(const GpuSnapshot& snapshot) {
  if (!snapshot.driver_changed && snapshot.sight != GpuSight::mismatch) return {};
  return "the GPU driver was changed underneath: what runs goes on, a restart would find no "
         "driver until the machine is rebooted or the module reloaded";
}

std::optional<std::chrono::nanoseconds> age_of(const GpuDevice& device, std::int64_t now_ns) {
  if (device.read_ns == 0) return std::nullopt;
  return std::chrono::nanoseconds(now_ns - device.read_ns);
}

}  // namespace gpuward
