#include "gpu/signals.h"

#include <algorithm>
#include <charconv>

#include "gpu/fields.h"
#include "os/fd.h"

namespace gpuward::gpu {

Answer answer_of(abi::Code code) {
  switch (code) {
    case abi::kNotSupported:
    case abi::kFunctionNotFound:
    case abi::kArgumentVersionMismatch:
      return Answer::not_supported;
    case abi::kNoPermission:
      return Answer::no_permission;
    case abi::kNotFound:
    case abi::kNoData:
    case abi::kNotReady:
      return Answer::not_yet;
    default:
      return Answer::failed;
  }
}

namespace {

constexpr std::int32_t kOnCard = 0;    // the one sensor of nvmlDeviceGetTemperature
constexpr std::int32_t kSlowdown = 1;  // of nvmlDeviceGetTemperatureThreshold
constexpr std::int32_t kSmClock = 1;

/// A mode: on or off. @p call returns the code and gives the number.
template <class Call>
void ask_mode(const Caller& caller, Reading<bool>& into, Call call) {
  if (into.answer == Answer::not_supported) return;
  std::int32_t on = 0;
  const abi::Code code = call(on);
  into = caller.reading(code, on != 0);
}

void read_remapped_rows(const Caller& caller, GpuErrors& errors) {
  if (!caller.library.remapped_rows) return;  // older drivers: as fields
  if (errors.rows_remapped_corrected.answer == Answer::not_supported) return;
  std::uint32_t corrected = 0;
  std::uint32_t uncorrected = 0;
  std::uint32_t pending = 0;
  std::uint32_t failed = 0;
  const abi::Code code =
      caller(caller.library.remapped_rows, &corrected, &uncorrected, &pending, &failed);
  errors.rows_remapped_corrected = caller.reading(code, corrected);
  errors.rows_remapped_uncorrected = caller.reading(code, uncorrected);
  errors.remap_pending = caller.reading(code, pending != 0);
  errors.remap_failed = caller.reading(code, failed != 0);
}

void read_sram(const Caller& caller, GpuErrors& errors) {
  if (errors.sram_threshold_exceeded.answer == Answer::not_supported) return;
  abi::SramStatus status{};
  status.version = abi::version_tag<abi::SramStatus>(1);
  const abi::Code code = caller(caller.library.sram, &status);
  errors.sram_threshold_exceeded = caller.reading(code, status.threshold_exceeded != 0);
}

/// Totals of cards whose driver does not tell them as fields.
void read_ecc_calls(const Caller& caller, GpuErrors& errors) {
  Reading<std::uint64_t>* const totals[2][2] = {
      {&errors.ecc_corrected, &errors.ecc_corrected_ever},
      {&errors.ecc_uncorrected, &errors.ecc_uncorrected_ever}};
  for (std::int32_t uncorrected = 0; uncorrected < 2; ++uncorrected) {
    for (std::int32_t ever = 0; ever < 2; ++ever) {
      std::uint64_t count = 0;
      const abi::Code code = caller(caller.library.ecc_total, uncorrected, ever, &count);
      if (code == abi::kSuccess) *totals[uncorrected][ever] = {count, caller.now_ns};
    }
  }
}

std::string first_line(const std::string& path) {
  auto text = os::read_file(path, 4096);
  if (!text) return {};
  return text->substr(0, text->find('\n'));
}

Reading<std::uint32_t> numa_node(const std::string& folder, std::int64_t now_ns) {
  const std::string text = first_line(folder + "/numa_node");
  std::int32_t node = -1;
  const auto end = text.data() + text.size();
  if (text.empty() || std::from_chars(text.data(), end, node).ec != std::errc{})
    return Reading<std::uint32_t>::none(Answer::cannot_see, now_ns);
  // -1: a machine with one node, or firmware that does not tell.
  if (node < 0) return Reading<std::uint32_t>::none(Answer::not_supported, now_ns);
  return {static_cast<std::uint32_t>(node), now_ns};
}

}  // namespace

void read_climate(const Caller& caller, GpuClimate& climate) {
  const Library& library = caller.library;
  caller.ask(library.temperature, climate.temperature_celsius, kOnCard);
  caller.ask(library.power, climate.power_milliwatts);
  caller.ask(library.energy, climate.energy_millijoules);
  caller.ask(library.clock, climate.sm_clock_mhz, kSmClock);
  caller.ask(library.reasons ? library.reasons : library.reasons_before_535, climate.clock_reasons);
  // These stay as they are, or change by an administrator's hand.
  if (!climate.slowdown_celsius) caller.ask(library.threshold, climate.slowdown_celsius, kSlowdown);
  if (!climate.sm_clock_max_mhz) caller.ask(library.clock_max, climate.sm_clock_max_mhz, kSmClock);
  caller.ask(library.power_limit, climate.power_limit_milliwatts);
  FieldBatch batch;
  GpuHeldDown& held = climate.held_down;
  batch.want(abi::kMemoryTemperature, climate.memory_temperature_celsius);
  batch.want(abi::kHeldByPower, held.power_ns);
  batch.want(abi::kHeldByThermal, held.thermal_ns);
  batch.want(abi::kHeldBySyncBoost, held.sync_boost_ns);
  batch.want(abi::kHeldByBoard, held.board_ns);
  batch.want(abi::kHeldByLowUtilization, held.low_utilization_ns);
  batch.want(abi::kHeldByReliability, held.reliability_ns);
  batch.want(abi::kHeldBySoftwareThermal, held.software_thermal_ns);
  batch.want(abi::kHeldByHardwareThermal, held.hardware_thermal_ns);
  batch.want(abi::kHeldByPowerBrake, held.power_brake_ns);
  batch.read(caller);
}

void read_link(const Caller& caller, GpuLink& link) {
  const Library& library = caller.library;
  caller.ask(library.link_generation, link.generation);
  caller.ask(library.link_width, link.width);
  if (!link.generation_max) caller.ask(library.link_generation_max, link.generation_max);
  if (!link.width_max) caller.ask(library.link_width_max, link.width_max);
  FieldBatch batch;
  batch.want(abi::kPcieTxBytes, link.tx_bytes);
  batch.want(abi::kPcieRxBytes, link.rx_bytes);
  batch.read(caller);
}

void read_errors(const Caller& caller, GpuErrors& errors) {
  read_remapped_rows(caller, errors);
  read_sram(caller, errors);
  Reading<std::uint32_t> single;
  Reading<std::uint32_t> both;
  FieldBatch batch;
  batch.want(abi::kEccCorrected, errors.ecc_corrected);
  batch.want(abi::kEccUncorrected, errors.ecc_uncorrected);
  batch.want(abi::kEccCorrectedEver, errors.ecc_corrected_ever);
  batch.want(abi::kEccUncorrectedEver, errors.ecc_uncorrected_ever);
  if (errors.pages_retired.answer != Answer::not_supported) {
    batch.want(abi::kRetiredSingle, single);
    batch.want(abi::kRetiredDouble, both);
  }
  batch.want(abi::kRetiredPending, errors.retirement_pending);
  if (!caller.library.remapped_rows) {
    batch.want(abi::kRemappedCorrected, errors.rows_remapped_corrected);
    batch.want(abi::kRemappedUncorrected, errors.rows_remapped_uncorrected);
    batch.want(abi::kRemapPending, errors.remap_pending);
    batch.want(abi::kRemapFailed, errors.remap_failed);
  }
  batch.want(abi::kPcieCorrected, errors.pcie_corrected);
  batch.want(abi::kPcieNonFatal, errors.pcie_nonfatal);
  batch.want(abi::kPcieFatal, errors.pcie_fatal);
  batch.want(abi::kRecoveryAction, errors.advice);
  batch.read(caller);
  if (!single.blank()) errors.pages_retired = single;
  if (single && both) errors.pages_retired.value += both.value;
  if (!errors.ecc_corrected || !errors.ecc_uncorrected) read_ecc_calls(caller, errors);
}

void read_place(const Caller& caller, const std::string& sysfs, GpuPlace& place) {
  const Library& library = caller.library;
  abi::PciInfo pci{};
  if (caller(library.pci, &pci) == abi::kSuccess) {
    pci.bus_id[sizeof pci.bus_id - 1] = '\0';
    place.pci_bus_id = sysfs_bus_id(pci.bus_id);
  }
  place.numa_node = Reading<std::uint32_t>::none(Answer::cannot_see, caller.now_ns);
  if (!place.pci_bus_id.empty()) {
    const std::string folder = sysfs + "/bus/pci/devices/" + place.pci_bus_id;
    place.numa_node = numa_node(folder, caller.now_ns);
    place.local_cpus = first_line(folder + "/local_cpulist");
  }
  caller.ask(library.minor, place.minor);
  caller.ask(library.architecture, place.architecture);
  std::int32_t major = 0;
  std::int32_t minor = 0;
  const abi::Code code = caller(library.capability, &major, &minor);
  place.compute_capability = caller.reading(code, static_cast<std::uint32_t>(major * 10 + minor));
}

void read_modes(const Caller& caller, GpuPlace& place) {
  const Library& library = caller.library;
  std::int32_t pending = 0;
  ask_mode(caller, place.persistence,
           [&](std::int32_t& on) { return caller(library.persistence, &on); });
  ask_mode(caller, place.ecc,
           [&](std::int32_t& on) { return caller(library.ecc_mode, &on, &pending); });
  ask_mode(caller, place.accounting,
           [&](std::int32_t& on) { return caller(library.accounting_mode, &on); });
  ask_mode(caller, place.mig, [&](std::int32_t& on) {
    std::uint32_t now = 0;
    std::uint32_t next = 0;
    const abi::Code code = caller(library.mig_mode, &now, &next);
    on = now == 1 ? 1 : 0;
    return code;
  });
  if (place.compute_mode.answer != Answer::not_supported) {
    std::int32_t mode = 0;
    const abi::Code code = caller(library.compute_mode, &mode);
    place.compute_mode = caller.reading(code, static_cast<std::uint32_t>(mode));
  }
}

std::vector<GpuInstance> read_instances(const Caller& caller) {
  const Library& library = caller.library;
  std::uint32_t most = 0;
  std::vector<GpuInstance> instances;
  if (caller(library.mig_most, &most) != abi::kSuccess) return instances;
  for (std::uint32_t n = 0; n < std::min<std::size_t>(most, kMostInstances); ++n) {
    Caller part{library, caller.mark, caller.index, nullptr, caller.now_ns};
    // An empty slot is "not found": later ones may be filled.
    if (caller(library.mig_handle, n, &part.device) != abi::kSuccess) continue;
    GpuInstance instance;
    char text[abi::kTextRoom] = {};
    if (part(library.uuid, text, abi::kTextRoom) == abi::kSuccess) {
      text[abi::kTextRoom - 1] = '\0';
      instance.uuid = text;
    }
    (void)part(library.gpu_instance, &instance.gpu_instance);
    (void)part(library.compute_instance, &instance.compute_instance);
    abi::MemoryV2 memory{};
    memory.version = abi::version_tag<abi::MemoryV2>(2);
    if (part(library.memory_v2, &memory) == abi::kSuccess) {
      instance.memory_total = {memory.total};
      instance.memory_used = {memory.used};
    }
    abi::Attributes attributes{};
    if (part(library.attributes, &attributes) == abi::kSuccess)
      instance.multiprocessors = attributes.multiprocessors;
    instances.push_back(std::move(instance));
  }
  return instances;
}

void read_ended(const Caller& caller, std::vector<Leaver>& leavers, std::vector<GpuEnded>& ended) {
  constexpr std::uint8_t kPatience = 5;  // the driver may take a moment to close the account
  std::erase_if(leavers, [&](Leaver& leaver) {
    abi::AccountingStats stats{};
    const abi::Code code = caller(caller.library.accounting_stats, leaver.pid, &stats);
    if (code != abi::kSuccess || stats.running != 0 || stats.time_ms == 0)
      return ++leaver.asked == kPatience;
    ended.push_back({leaver.pid, stats.gpu_percent, stats.memory_percent, Bytes{stats.peak_bytes},
                     stats.time_ms, stats.start_us});
    return true;
  });
  if (ended.size() > kMostEnded)
    ended.erase(ended.begin(), ended.end() - static_cast<std::ptrdiff_t>(kMostEnded));
}

std::string sysfs_bus_id(std::string_view nvml) {
  const std::size_t colon = nvml.find(':');
  if (colon == std::string_view::npos || colon < 4 || nvml.size() - colon != 8) return {};
  // A domain of more than 16 bit stands there in full; it has leading zeros otherwise.
  std::string_view domain = nvml.substr(0, colon);
  while (domain.size() > 4 && domain.front() == '0') domain.remove_prefix(1);
  std::string id = std::string(domain) + std::string(nvml.substr(colon));
  for (char& c : id) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    const bool fits = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == ':' || c == '.';
    if (!fits) return {};
  }
  return id;
}

std::string module_version_in(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    const bool numeric = word.find('.') != std::string_view::npos &&
                         word.find_first_not_of("0123456789.") == std::string_view::npos;
    if (numeric && word.front() != '.') return std::string(word);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

}  // namespace gpuward::gpu
