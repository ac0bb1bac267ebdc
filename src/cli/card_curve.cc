#include "cli/card_curve.h"

#include <algorithm>

#include "cli/terminal.h"

namespace gpuward::cli {

void CardCurves::add(const GpuSnapshot& snapshot) {
  for (const auto& device : snapshot.devices) cards_.try_emplace(device.uuid);
  for (auto& [uuid, columns] : cards_) {
    const auto device = std::ranges::find(snapshot.devices, uuid, &GpuDevice::uuid);
    Column column;
    if (device != snapshot.devices.end() && device->state == GpuState::ok && device->busy_percent)
      column = *device->busy_percent;
    columns.push_back(column);
    if (columns.size() > kColumns) columns.pop_front();
  }
}

std::string CardCurves::of(const std::string& uuid) const {
  const auto at = cards_.find(uuid);
  if (at == cards_.end()) return {};
  std::string line(kColumns - at->second.size(), ' ');
  for (const auto& column : at->second) line += column ? sparkline({*column}, 100) : " ";
  return line;
}

}  // namespace gpuward::cli
