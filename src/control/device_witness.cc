#include "control/device_witness.h"

#include <cstdlib>

namespace gpuward::control {

std::string device_prefix() {
  const char* named = std::getenv("GPUWARD_DEVICES");
  return named != nullptr && *named != '\0' ? named : "/dev/nvidia";
}

std::vector<DeviceHolder> as_holders(const std::vector<os::DeviceUse>& uses) {
  std::vector<DeviceHolder> holders;
  holders.reserve(uses.size());
  for (const auto& use : uses) {
    DeviceHolder holder;
    holder.process = use.process;
    holder.thread = use.thread;
    holder.device = use.device.view();
    holder.via = use.mapped ? DeviceHolder::Via::mapping : DeviceHolder::Via::descriptor;
    holder.state = use.state;
    holder.leader_is_zombie = use.leader_is_zombie;
    holder.wchan = use.wchan.view();
    holder.name = use.name.view();
    holders.push_back(std::move(holder));
  }
  return holders;
}

}  // namespace gpuward::control
