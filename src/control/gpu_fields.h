#pragma once

#include <cstdint>
#include <optional>

#include "control/wire.h"
#include "domain/gpu.h"

// The field lists of what the sentinel says of the cards; see messages.h.

namespace gpuward {

template <class A, class T>
void fields(A& a, Reading<T>& v) {
  a(1, v.value), a(2, v.answer), a(3, v.read_ns);
}
/// A reading that was a bare number before, under @p bare_tag, which older programs go on reading.
template <class A, class T>
void reading(A& a, std::uint16_t bare_tag, std::uint16_t tag, Reading<T>& v) {
  std::optional<T> bare = v.maybe();
  a(bare_tag, bare);
  if (bare && !v) v = *bare;
  a(tag, v);
}
template <class A>
void fields(A& a, GpuProcess& v) {
  a(1, v.pid), a(2, v.start_ticks), reading(a, 3, 6, v.memory), reading(a, 4, 7, v.sm_percent);
  a(5, v.kind), a(8, v.pairing), a(9, v.memory_percent), a(10, v.gpu_instance);
  a(11, v.compute_instance);
}
template <class A>
void fields(A& a, GpuEnded& v) {
  a(1, v.pid), a(2, v.gpu_percent), a(3, v.memory_percent), a(4, v.memory_peak), a(5, v.lived_ms);
  a(6, v.start_unix_us);
}
template <class A>
void fields(A& a, GpuActivity& v) {
  a(1, v.engine_percent), a(2, v.sm_percent), a(3, v.occupancy_percent), a(4, v.tensor_percent);
  a(5, v.dram_percent), a(6, v.pcie_tx_mib_per_second), a(7, v.pcie_rx_mib_per_second);
  a(8, v.switch_elapsed_cycles), a(9, v.switch_active_cycles), a(10, v.switch_requests);
  a(11, v.switch_cycles_per_request), a(12, v.switch_active_percent);
}
template <class A>
void fields(A& a, GpuHeldDown& v) {
  a(1, v.power_ns), a(2, v.thermal_ns), a(3, v.sync_boost_ns), a(4, v.board_ns);
  a(5, v.low_utilization_ns), a(6, v.reliability_ns), a(7, v.software_thermal_ns);
  a(8, v.hardware_thermal_ns), a(9, v.power_brake_ns);
}
template <class A>
void fields(A& a, GpuClimate& v) {
  a(1, v.temperature_celsius), a(2, v.memory_temperature_celsius), a(3, v.slowdown_celsius);
  a(4, v.power_milliwatts), a(5, v.power_limit_milliwatts), a(6, v.energy_millijoules);
  a(7, v.sm_clock_mhz), a(8, v.sm_clock_max_mhz), a(9, v.clock_reasons), a(10, v.held_down);
}
template <class A>
void fields(A& a, GpuErrors& v) {
  a(1, v.ecc_corrected), a(2, v.ecc_uncorrected), a(3, v.ecc_corrected_ever);
  a(4, v.ecc_uncorrected_ever), a(5, v.rows_remapped_corrected), a(6, v.rows_remapped_uncorrected);
  a(7, v.remap_pending), a(8, v.remap_failed), a(9, v.pages_retired), a(10, v.retirement_pending);
  a(11, v.sram_threshold_exceeded), a(12, v.pcie_corrected), a(13, v.pcie_nonfatal);
  a(14, v.pcie_fatal), a(15, v.advice);
}
template <class A>
void fields(A& a, GpuLink& v) {
  a(1, v.generation), a(2, v.generation_max), a(3, v.width), a(4, v.width_max), a(5, v.tx_bytes);
  a(6, v.rx_bytes);
}
template <class A>
void fields(A& a, GpuNeighbour& v) {
  a(1, v.index), a(2, v.distance);
}
template <class A>
void fields(A& a, GpuPlace& v) {
  a(1, v.pci_bus_id), a(2, v.minor), a(3, v.numa_node), a(4, v.local_cpus), a(5, v.architecture);
  a(6, v.compute_capability), a(7, v.persistence), a(8, v.compute_mode), a(9, v.ecc);
  a(10, v.accounting), a(11, v.mig), a(12, v.neighbours);
}
template <class A>
void fields(A& a, GpuInstance& v) {
  a(1, v.uuid), a(2, v.gpu_instance), a(3, v.compute_instance), a(4, v.memory_total);
  a(5, v.memory_used), a(6, v.multiprocessors);
}
template <class A>
void fields(A& a, GpuDevice& v) {
  a(1, v.uuid), a(2, v.name), a(3, v.index), a(4, v.state), a(5, v.memory_total),
      a(6, v.memory_used);
  reading(a, 7, 11, v.busy_percent), a(8, v.processes), a(9, v.processes_visible), a(10, v.read_ns);
  a(12, v.detail), a(13, v.memory_reserved), a(14, v.memory_answer), a(15, v.memory_busy_percent);
  a(16, v.processes_answer), a(17, v.rows_refused), a(18, v.rows_cut), a(19, v.activity);
  a(20, v.climate), a(21, v.errors), a(22, v.link), a(23, v.place), a(24, v.instances);
  a(25, v.ended);
}
template <class A>
void fields(A& a, GpuEvent& v) {
  a(1, v.index), a(2, v.kind), a(3, v.data), a(4, v.at_ns);
}
template <class A>
void fields(A& a, GpuSnapshot& v) {
  a(1, v.sight), a(2, v.detail), a(3, v.pids_are_ours), a(4, v.devices), a(5, v.taken_ns);
  a(6, v.driver_version), a(7, v.module_version), a(8, v.events), a(9, v.events_lost);
  a(10, v.driver_changed), a(11, v.unkillable_sentinels);
}

}  // namespace gpuward
