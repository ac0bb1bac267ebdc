#include "domain/report.h"

namespace gpuward {

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
