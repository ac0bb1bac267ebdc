#include "cli/card_curve.h"

#include <algorithm>

#include "cli/terminal.h"

namespace gpuward::cli {
namespace {

constexpr auto kStaleAfter = std::chrono::seconds(3);

}  // namespace

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

std::string card_line(const GpuDevice& device, Instant now) {
  std::string text = "GPU " + std::to_string(device.index) + ": " + device.name + ", " +
                     to_string(device.memory_used) + " of " + to_string(device.memory_total) +
                     " used";
  if (device.busy_percent) text += ", " + std::to_string(*device.busy_percent) + " % busy";
  const Duration age = now.time_since_epoch() - std::chrono::nanoseconds(device.read_ns);
  if (device.read_ns != 0 && age > kStaleAfter) text += ", read " + to_string(age) + " ago";
  if (device.state != GpuState::ok)
    text = paint(Tone::bad, text + " [" + std::string(to_string(device.state)) + "]");
  return text;
}

}  // namespace gpuward::cli
