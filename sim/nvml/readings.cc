#include "nvml/readings.h"

#include "model/state_file.h"

/// Heat, power and clocks are simple functions of how busy the card was; they exist so that readers
/// have something plausible to show, not to be studied.
namespace gpuward::gpusim::nvml {

Reading read_device(unsigned index) {
  return session().look(index, [](const DeviceValue& device) {
    const unsigned busy = busy_percent(device);
    // Taken as half: what a kernel reads is not simulated.
    return Reading{busy, busy / 2, device.busy_ns, device.now};
  });
}

std::uint64_t held_down_ns(unsigned index, unsigned reason) {
  return gpusim::held_down_ns(health_entry(index).held_down[reason].load(), monotonic_ns());
}

namespace {

std::uint64_t holding(unsigned index) {
  std::uint64_t mask = 0;
  for (unsigned reason = 0; reason < kReasons; ++reason) {
    const std::uint64_t held = health_entry(index).held_down[reason].load();
    if ((held & kHolding) != 0) mask |= std::uint64_t{1} << reason;
  }
  return mask;
}

}  // namespace

std::uint64_t clock_reasons(unsigned index) {
  const std::uint64_t mask = holding(index);
  if (mask != 0) return mask;
  return read_device(index).gpu_percent == 0 ? 0x1 : 0;  // idle
}

int temperature(unsigned index) {
  const std::int32_t set = health_entry(index).temperature.load();
  if (set != kFollows) return set;
  if ((holding(index) & (1U << kSoftwareThermal | 1U << kHardwareThermal)) != 0) return 89;
  return 34 + static_cast<int>(read_device(index).gpu_percent) * 36 / 100;
}

int memory_temperature(unsigned index) {
  const std::int32_t set = health_entry(index).memory_temperature.load();
  return set != kFollows ? set : temperature(index) + 4;
}

unsigned power_mw(const DeviceEntry& device, unsigned percent) {
  const unsigned span = device.power_limit_mw - device.power_idle_mw;
  return device.power_idle_mw + span * percent * 9 / 1000;  // 90 % of the limit at full load
}

unsigned power_mw(unsigned index) {
  const std::int32_t set = health_entry(index).power_mw.load();
  if (set != kFollows) return static_cast<unsigned>(set);
  return power_mw(device_entry(index), read_device(index).gpu_percent);
}

std::uint64_t energy_mj(unsigned index) {
  const DeviceEntry& device = device_entry(index);
  const Reading reading = read_device(index);
  const auto seconds = static_cast<double>(reading.now - device.created_at) / 1e9;
  const auto busy_seconds = static_cast<double>(reading.busy_ns) / 1e9;
  const double extra = static_cast<double>(power_mw(device, 100) - device.power_idle_mw);
  return static_cast<std::uint64_t>(seconds * device.power_idle_mw + busy_seconds * extra);
}

unsigned max_clock_mhz(int kind) {
  switch (kind) {
    case 2:
      return 2619;
    case 3:
      return 1545;
    default:
      return 1980;
  }
}

unsigned clock_mhz(unsigned index, int kind) {
  if (kind == 2) return max_clock_mhz(kind);
  const std::uint32_t rate =
      session().look(index, [](const DeviceValue& device) { return device.rate_permille; });
  if (read_device(index).gpu_percent == 0) return 345;
  return max_clock_mhz(kind) * rate / 1000;
}

Copied copied(unsigned index) {
  return session().look(
      index, [](const DeviceValue& device) { return Copied{device.to_card, device.from_card}; });
}

}  // namespace gpuward::gpusim::nvml
