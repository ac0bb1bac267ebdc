#include "cli/device_line.h"

#include <cctype>
#include <cstdio>

#include "base/utf8.h"
#include "cli/terminal.h"
#include "os/clock.h"

namespace gpuward::cli {
namespace {

std::string upper(std::string_view text) {
  std::string word(text);
  for (char& c : word) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return word;
}

}  // namespace

std::string device_line(const GpuDevice& device) {
  std::string line = "GPU " + std::to_string(device.index) + ": ";
  line += device.name.empty() ? "(never read)" : device.name;
  const auto age = age_of(device, os::now().time_since_epoch() / std::chrono::nanoseconds(1));
  if (age)
    line +=
        ", " + to_string(device.memory_used) + " of " + to_string(device.memory_total) + " used";
  if (age && device.memory_reserved.count != 0)
    line += ", " + to_string(device.memory_reserved) + " reserved by the driver";
  if (device.state != GpuState::ok) {
    line += "; " + paint(Tone::bad, upper(to_string(device.state)));
    if (!device.detail.empty()) line += ": " + printable(device.detail);
    if (age) line += "; these numbers are " + to_string(*age) + " old";
    return line;
  }
  if (device.busy_percent) line += ", " + std::to_string(*device.busy_percent) + " % busy";
  if (!device.processes_visible) line += "; its processes cannot be seen from here";
  return line;
}

void print_blocked(const GpuSnapshot& snapshot) {
  const auto why = restarts_blocked(snapshot);
  if (!why.empty()) std::printf("%s\n", paint(Tone::bad, "restarts are blocked: " + why).c_str());
}

}  // namespace gpuward::cli
