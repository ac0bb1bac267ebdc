#pragma once

#include "domain/gpu.h"

namespace gpuward {

/// Calls @p visit(name, reading) for each reading of @p device that is a plain number or a switch,
/// by the name it has in the JSON output: a contract. Not those of its processes.
template <class Device, class Visit>
void for_each_reading(Device& device, Visit&& visit) {
  visit("busy_percent", device.busy_percent);
  visit("memory_busy_percent", device.memory_busy_percent);
  auto& activity = device.activity;
  visit("engine_active_percent", activity.engine_percent);
  visit("sm_active_percent", activity.sm_percent);
  visit("sm_occupancy_percent", activity.occupancy_percent);
  visit("tensor_active_percent", activity.tensor_percent);
  visit("dram_active_percent", activity.dram_percent);
  visit("pcie_tx_mib_per_second", activity.pcie_tx_mib_per_second);
  visit("pcie_rx_mib_per_second", activity.pcie_rx_mib_per_second);
  visit("context_switch_elapsed_cycles", activity.switch_elapsed_cycles);
  visit("context_switch_active_cycles", activity.switch_active_cycles);
  visit("context_switch_requests", activity.switch_requests);
  visit("context_switch_cycles_per_request", activity.switch_cycles_per_request);
  visit("context_switch_active_percent", activity.switch_active_percent);
  auto& climate = device.climate;
  visit("temperature_celsius", climate.temperature_celsius);
  visit("memory_temperature_celsius", climate.memory_temperature_celsius);
  visit("slowdown_celsius", climate.slowdown_celsius);
  visit("power_milliwatts", climate.power_milliwatts);
  visit("power_limit_milliwatts", climate.power_limit_milliwatts);
  visit("energy_millijoules", climate.energy_millijoules);
  visit("sm_clock_mhz", climate.sm_clock_mhz);
  visit("sm_clock_max_mhz", climate.sm_clock_max_mhz);
  visit("clock_reasons", climate.clock_reasons);
  auto& held = climate.held_down;
  visit("held_down_power_ns", held.power_ns);
  visit("held_down_thermal_ns", held.thermal_ns);
  visit("held_down_sync_boost_ns", held.sync_boost_ns);
  visit("held_down_board_ns", held.board_ns);
  visit("held_down_low_utilization_ns", held.low_utilization_ns);
  visit("held_down_reliability_ns", held.reliability_ns);
  visit("held_down_software_thermal_ns", held.software_thermal_ns);
  visit("held_down_hardware_thermal_ns", held.hardware_thermal_ns);
  visit("held_down_power_brake_ns", held.power_brake_ns);
  auto& errors = device.errors;
  visit("ecc_corrected", errors.ecc_corrected);
  visit("ecc_uncorrected", errors.ecc_uncorrected);
  visit("ecc_corrected_ever", errors.ecc_corrected_ever);
  visit("ecc_uncorrected_ever", errors.ecc_uncorrected_ever);
  visit("rows_remapped_corrected", errors.rows_remapped_corrected);
  visit("rows_remapped_uncorrected", errors.rows_remapped_uncorrected);
  visit("remap_pending", errors.remap_pending);
  visit("remap_failed", errors.remap_failed);
  visit("pages_retired", errors.pages_retired);
  visit("retirement_pending", errors.retirement_pending);
  visit("sram_threshold_exceeded", errors.sram_threshold_exceeded);
  visit("pcie_corrected", errors.pcie_corrected);
  visit("pcie_nonfatal", errors.pcie_nonfatal);
  visit("pcie_fatal", errors.pcie_fatal);
  auto& link = device.link;
  visit("pcie_generation", link.generation);
  visit("pcie_generation_max", link.generation_max);
  visit("pcie_width", link.width);
  visit("pcie_width_max", link.width_max);
  visit("pcie_tx_bytes", link.tx_bytes);
  visit("pcie_rx_bytes", link.rx_bytes);
  auto& place = device.place;
  visit("minor", place.minor);
  visit("numa_node", place.numa_node);
  visit("architecture", place.architecture);
  visit("compute_capability", place.compute_capability);
  visit("persistence", place.persistence);
  visit("compute_mode", place.compute_mode);
  visit("ecc", place.ecc);
  visit("accounting", place.accounting);
  visit("mig", place.mig);
}

}  // namespace gpuward
