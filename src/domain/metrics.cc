#include "domain/metrics.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "domain/exposition.h"
#include "domain/memory_proof.h"

namespace gpuward {
namespace {

using Labels = Exposition::Labels;

/// From the driver's unit to the one in a metric's name. Divided where it is a fraction: 41 / 100
/// is 0.41, 41 * 0.01 is not.
struct Unit {
  double times = 1;
  double by = 1;
};
constexpr Unit kPercent{1, 100};
constexpr Unit kMilli{1, 1e3};
constexpr Unit kNano{1, 1e9};
constexpr Unit kMega{1e6, 1};
constexpr Unit kMebi{1 << 20, 1};

template <class T>
std::optional<double> number(const Reading<T>& reading, Unit unit = {}) {
  if (!reading.known()) return std::nullopt;
  return static_cast<double>(*reading) * unit.times / unit.by;
}

std::optional<double> number(const Reading<bool>& reading) {
  if (!reading.known()) return std::nullopt;
  return *reading ? 1 : 0;
}

Labels labels_of(const GpuDevice& device) {
  return {{"gpu", device.uuid}, {"index", std::to_string(device.index)}, {"name", device.name}};
}

Labels with(Labels labels, std::string_view name, std::string value) {
  labels.emplace_back(name, std::move(value));
  return labels;
}

/// A number of a card; of one in a family with a further label, its value.
struct CardValue {
  std::optional<double> (*of)(const GpuDevice&);
  const char* value = nullptr;
};

/// A family of numbers of cards.
struct CardFamily {
  const char* name;
  const char* help;
  bool counter;
  const char* label;  ///< null: none besides the card's
  std::vector<CardValue> values;
};

std::optional<double> age_seconds(const GpuDevice& device, Instant now) {
  const auto age = age_of(device, now.time_since_epoch() / std::chrono::nanoseconds(1));
  if (!age) return std::nullopt;
  return std::chrono::duration<double>(*age).count();
}

const std::vector<CardFamily>& memory_and_use() {
  using D = const GpuDevice&;
  static const std::vector<CardFamily> families = {
      {"gpuward_gpu_memory_total_bytes",
       "Memory of the card.",
       false,
       nullptr,
       {{[](D d) -> std::optional<double> {
         if (d.memory_answer != Answer::known) return std::nullopt;
         return static_cast<double>(d.memory_total.count);
       }}}},
      {"gpuward_gpu_memory_used_bytes",
       "Memory in use.",
       false,
       nullptr,
       {{[](D d) -> std::optional<double> {
         if (d.memory_answer != Answer::known) return std::nullopt;
         return static_cast<double>(d.memory_used.count);
       }}}},
      {"gpuward_gpu_memory_reserved_bytes",
       "Memory that the driver keeps for itself.",
       false,
       nullptr,
       {{[](D d) -> std::optional<double> {
         if (d.memory_answer != Answer::known) return std::nullopt;
         return static_cast<double>(d.memory_reserved.count);
       }}}},
      {"gpuward_gpu_processes",
       "Processes that the driver lists.",
       false,
       nullptr,
       {{[](D d) -> std::optional<double> {
         if (!d.processes_visible) return std::nullopt;
         return static_cast<double>(d.processes.size() + d.rows_cut);
       }}}},
      {"gpuward_gpu_rows_refused",
       "Rows of the driver's list that cannot be true.",
       false,
       nullptr,
       {{[](D d) { return std::optional<double>(d.rows_refused); }}}},
      {"gpuward_gpu_busy_ratio", "Share of time with a kernel running.", false, nullptr, {{[](D d) {
         return number(d.busy_percent, kPercent);
       }}}},
      {"gpuward_gpu_memory_busy_ratio",
       "Share of time with memory traffic.",
       false,
       nullptr,
       {{[](D d) { return number(d.memory_busy_percent, kPercent); }}}},
      {"gpuward_gpu_active_ratio",
       "How busy a part is (Hopper and later).",
       false,
       "part",
       {{[](D d) { return number(d.activity.engine_percent, kPercent); }, "engine"},
        {[](D d) { return number(d.activity.sm_percent, kPercent); }, "sm"},
        {[](D d) { return number(d.activity.occupancy_percent, kPercent); }, "occupancy"},
        {[](D d) { return number(d.activity.tensor_percent, kPercent); }, "tensor"},
        {[](D d) { return number(d.activity.dram_percent, kPercent); }, "dram"},
        {[](D d) { return number(d.activity.switch_active_percent, kPercent); },
         "context_switch"}}},
      {"gpuward_gpu_pcie_bytes_per_second",
       "Traffic on the bus (Hopper and later).",
       false,
       "direction",
       {{[](D d) { return number(d.activity.pcie_tx_mib_per_second, kMebi); }, "tx"},
        {[](D d) { return number(d.activity.pcie_rx_mib_per_second, kMebi); }, "rx"}}},
      {"gpuward_gpu_pcie_bytes_total",
       "Traffic on the bus; may wrap.",
       true,
       "direction",
       {{[](D d) { return number(d.link.tx_bytes); }, "tx"},
        {[](D d) { return number(d.link.rx_bytes); }, "rx"}}},
  };
  return families;
}

const std::vector<CardFamily>& climate() {
  using D = const GpuDevice&;
  static const std::vector<CardFamily> families = {
      {"gpuward_gpu_temperature_celsius",
       "Temperature.",
       false,
       "sensor",
       {{[](D d) { return number(d.climate.temperature_celsius); }, "gpu"},
        {[](D d) { return number(d.climate.memory_temperature_celsius); }, "memory"}}},
      {"gpuward_gpu_slowdown_temperature_celsius",
       "From here on the hardware slows down.",
       false,
       nullptr,
       {{[](D d) { return number(d.climate.slowdown_celsius); }}}},
      {"gpuward_gpu_power_watts", "Power drawn.", false, nullptr, {{[](D d) {
         return number(d.climate.power_milliwatts, kMilli);
       }}}},
      {"gpuward_gpu_power_limit_watts", "Power limit in force.", false, nullptr, {{[](D d) {
         return number(d.climate.power_limit_milliwatts, kMilli);
       }}}},
      {"gpuward_gpu_energy_joules_total",
       "Energy since the driver was loaded.",
       true,
       nullptr,
       {{[](D d) { return number(d.climate.energy_millijoules, kMilli); }}}},
      {"gpuward_gpu_sm_clock_hertz", "Clock of the SMs.", false, nullptr, {{[](D d) {
         return number(d.climate.sm_clock_mhz, kMega);
       }}}},
      {"gpuward_gpu_sm_clock_max_hertz", "The highest that it can be.", false, nullptr, {{[](D d) {
         return number(d.climate.sm_clock_max_mhz, kMega);
       }}}},
      {"gpuward_gpu_held_down_seconds_total",
       "Time for which clocks were held down, by reason, since the driver was loaded.",
       true,
       "reason",
       {{[](D d) { return number(d.climate.held_down.power_ns, kNano); }, "power"},
        {[](D d) { return number(d.climate.held_down.thermal_ns, kNano); }, "thermal"},
        {[](D d) { return number(d.climate.held_down.sync_boost_ns, kNano); }, "sync_boost"},
        {[](D d) { return number(d.climate.held_down.board_ns, kNano); }, "board"},
        {[](D d) { return number(d.climate.held_down.low_utilization_ns, kNano); },
         "low_utilization"},
        {[](D d) { return number(d.climate.held_down.reliability_ns, kNano); }, "reliability"},
        {[](D d) { return number(d.climate.held_down.software_thermal_ns, kNano); },
         "software_thermal"},
        {[](D d) { return number(d.climate.held_down.hardware_thermal_ns, kNano); },
         "hardware_thermal"},
        {[](D d) { return number(d.climate.held_down.power_brake_ns, kNano); }, "power_brake"}}},
  };
  return families;
}

template <std::uint64_t kBit>
std::optional<double> reason(const GpuDevice& device) {
  if (!device.climate.clock_reasons.known()) return std::nullopt;
  return (*device.climate.clock_reasons & kBit) != 0 ? 1 : 0;
}

const std::vector<CardFamily>& errors_and_settings() {
  using D = const GpuDevice&;
  static const std::vector<CardFamily> families = {
      {"gpuward_gpu_clock_held_down",
       "Is the clock held down for this reason now?",
       false,
       "reason",
       {{reason<kReasonSoftwarePower>, "software_power"},
        {reason<kReasonHardwareSlowdown>, "hardware_slowdown"},
        {reason<kReasonSoftwareThermal>, "software_thermal"},
        {reason<kReasonHardwareThermal>, "hardware_thermal"},
        {reason<kReasonPowerBrake>, "power_brake"}}},
      {"gpuward_gpu_ecc_errors_total",
       "Errors of memory since the driver was loaded.",
       true,
       "type",
       {{[](D d) { return number(d.errors.ecc_corrected); }, "corrected"},
        {[](D d) { return number(d.errors.ecc_uncorrected); }, "uncorrected"}}},
      {"gpuward_gpu_ecc_lifetime_errors_total",
       "Errors of memory in the card's life.",
       true,
       "type",
       {{[](D d) { return number(d.errors.ecc_corrected_ever); }, "corrected"},
        {[](D d) { return number(d.errors.ecc_uncorrected_ever); }, "uncorrected"}}},
      {"gpuward_gpu_rows_remapped_total",
       "Rows of memory that were replaced.",
       true,
       "type",
       {{[](D d) { return number(d.errors.rows_remapped_corrected); }, "corrected"},
        {[](D d) { return number(d.errors.rows_remapped_uncorrected); }, "uncorrected"}}},
      {"gpuward_gpu_pages_retired_total",
       "Pages of memory that were retired (before Ampere).",
       true,
       nullptr,
       {{[](D d) { return number(d.errors.pages_retired); }}}},
      {"gpuward_gpu_memory_repair",
       "State of the card's memory: 1 where it holds.",
       false,
       "state",
       {{[](D d) { return number(d.errors.remap_pending); }, "remap_pending"},
        {[](D d) { return number(d.errors.remap_failed); }, "remap_failed"},
        {[](D d) { return number(d.errors.retirement_pending); }, "retirement_pending"},
        {[](D d) { return number(d.errors.sram_threshold_exceeded); }, "sram_threshold_exceeded"}}},
      {"gpuward_gpu_pcie_errors_total",
       "Errors of the bus.",
       true,
       "severity",
       {{[](D d) { return number(d.errors.pcie_corrected); }, "corrected"},
        {[](D d) { return number(d.errors.pcie_nonfatal); }, "nonfatal"},
        {[](D d) { return number(d.errors.pcie_fatal); }, "fatal"}}},
      {"gpuward_gpu_pcie_link_generation",
       "Generation of the bus now, and at most.",
       false,
       "which",
       {{[](D d) { return number(d.link.generation); }, "now"},
        {[](D d) { return number(d.link.generation_max); }, "most"}}},
      {"gpuward_gpu_pcie_link_width",
       "Lanes of the bus now, and at most.",
       false,
       "which",
       {{[](D d) { return number(d.link.width); }, "now"},
        {[](D d) { return number(d.link.width_max); }, "most"}}},
      {"gpuward_gpu_mode",
       "Is this mode on?",
       false,
       "mode",
       {{[](D d) { return number(d.place.persistence); }, "persistence"},
        {[](D d) { return number(d.place.ecc); }, "ecc"},
        {[](D d) { return number(d.place.accounting); }, "accounting"},
        {[](D d) { return number(d.place.mig); }, "mig"}}},
  };
  return families;
}

void put_families(const std::vector<CardFamily>& families, const GpuSnapshot& gpu,
                  Exposition& out) {
  for (const auto& family : families) {
    if (family.counter)
      out.counter(family.name, family.help);
    else
      out.gauge(family.name, family.help);
    for (const auto& device : gpu.devices) {
      const Labels labels = labels_of(device);
      for (const auto& [of, text] : family.values) {
        const auto value = of(device);
        if (!value) continue;
        out.sample(family.label == nullptr ? labels : with(labels, family.label, text), *value);
      }
    }
  }
}

constexpr std::array kVerdicts = {
    Verdict::stopped,     Verdict::starting, Verdict::healthy,         Verdict::draining,
    Verdict::backing_off, Verdict::failed,   Verdict::unkillable,      Verdict::loading,
    Verdict::paused,      Verdict::parked,   Verdict::ghost_nocontext, Verdict::ghost_sticky,
    Verdict::stalled,     Verdict::spinning, Verdict::answers_changed, Verdict::gpu_lost};
constexpr std::array kCanaryResults = {
    CanaryResult::right,  CanaryResult::busy,       CanaryResult::late,   CanaryResult::silent,
    CanaryResult::failed, CanaryResult::unexpected, CanaryResult::changed};
constexpr std::array kLogSights = {KernelLogSight::off, KernelLogSight::read,
                                   KernelLogSight::no_permission, KernelLogSight::absent,
                                   KernelLogSight::failed};
constexpr std::array kSights = {GpuSight::unknown,       GpuSight::visible, GpuSight::no_library,
                                GpuSight::no_driver,     GpuSight::no_gpu,  GpuSight::mismatch,
                                GpuSight::no_permission, GpuSight::failed,  GpuSight::hung,
                                GpuSight::cut_off};
constexpr std::array kStates = {GpuState::ok,      GpuState::lost,       GpuState::reset_required,
                                GpuState::suspect, GpuState::unreadable, GpuState::cut_off};
constexpr std::array kAdvices = {
    GpuAdvice::none,      GpuAdvice::reset,           GpuAdvice::reboot,
    GpuAdvice::drain_p2p, GpuAdvice::drain_and_reset, GpuAdvice::recover_imex};

/// One sample for each of @p all, 1 for @p now; one that is not among them comes last.
template <class Enum, std::size_t kCount>
void put_states(Exposition& out, const Labels& labels, std::string_view label,
                const std::array<Enum, kCount>& all, Enum now) {
  bool found = false;
  for (const auto state : all) {
    found = found || state == now;
    out.sample(with(labels, label, std::string(to_string(state))), state == now ? 1 : 0);
  }
  if (!found) out.sample(with(labels, label, std::string(to_string(now))), 1);
}

void put_states_of_cards(const GpuSnapshot& gpu, Exposition& out, Instant now) {
  out.gauge("gpuward_gpu_state", "State of the card: 1 for the one it is in.");
  for (const auto& device : gpu.devices)
    put_states(out, labels_of(device), "state", kStates, device.state);
  out.gauge("gpuward_gpu_age_seconds", "Age of the card's numbers.");
  for (const auto& device : gpu.devices)
    if (const auto age = age_seconds(device, now)) out.sample(labels_of(device), *age);
  out.gauge("gpuward_gpu_advice", "What the driver advises: 1 for that.");
  for (const auto& device : gpu.devices)
    if (device.errors.advice.known())
      put_states(out, labels_of(device), "advice", kAdvices, *device.errors.advice);
}

void put_instances(const GpuSnapshot& gpu, Exposition& out) {
  const auto each = [&](Bytes GpuInstance::* bytes) {
    for (const auto& device : gpu.devices)
      for (const auto& instance : device.instances)
        out.sample(with(labels_of(device), "instance", instance.uuid),
                   static_cast<double>((instance.*bytes).count));
  };
  out.gauge("gpuward_gpu_instance_memory_total_bytes", "Memory of a MIG instance.");
  each(&GpuInstance::memory_total);
  out.gauge("gpuward_gpu_instance_memory_used_bytes", "Memory in use of a MIG instance.");
  each(&GpuInstance::memory_used);
}

void put_unexplained(const GpuSnapshot& gpu, Exposition& out) {
  out.gauge("gpuward_gpu_memory_unexplained_bytes",
            "Memory in use that no listed process explains.");
  for (const auto& device : gpu.devices)
    if (rows_explain(device, gpu.pids_are_ours))
      out.sample(labels_of(device), static_cast<double>(unexplained_bytes(device)));
}

/// Of a card that may be seen no more; with an empty UUID of one that nobody can name.
Labels labels_of(const GpuSnapshot& gpu, const std::string& uuid) {
  for (const auto& device : gpu.devices)
    if (!uuid.empty() && device.uuid == uuid) return labels_of(device);
  return {{"gpu", uuid}, {"index", ""}, {"name", ""}};
}

/// What only a warden knows.
void put_marks(const StatusReport& report, Exposition& out) {
  if (!report.warden) return;
  const auto each = [&](bool CardMark::* is) {
    for (const auto& device : report.gpu.devices) {
      const auto mark = std::ranges::find(report.cards, device.uuid, &CardMark::uuid);
      out.sample(labels_of(device), mark != report.cards.end() && (*mark).*is ? 1 : 0);
    }
    for (const auto& mark : report.cards)  // of those that are seen no more
      if (mark.*is && std::ranges::find(report.gpu.devices, mark.uuid, &GpuDevice::uuid) ==
                          report.gpu.devices.end())
        out.sample(labels_of(report.gpu, mark.uuid), 1);
  };
  out.gauge("gpuward_gpu_cordoned", "Has a person taken the card out of use?");
  each(&CardMark::cordoned);
  out.gauge("gpuward_gpu_quarantined", "Has a rule taken the card out of use?");
  each(&CardMark::quarantined);
}

void put_kernel_log(const StatusReport& report, Exposition& out) {
  if (!report.kernel_log) return;
  out.gauge("gpuward_kernel_log_sight", "Can the kernel's log be read? 1 for what holds.");
  put_states(out, {}, "sight", kLogSights, report.kernel_log->sight);
  out.counter("gpuward_kernel_log_lost_records_total",
              "Records of the kernel's log that were overwritten before they were read.");
  out.sample({}, static_cast<double>(report.kernel_log->lost));
  std::map<std::pair<std::string, std::uint32_t>, double> incidents;
  for (const auto& incident : report.incidents)
    incidents[{incident.gpu_uuid, incident.xid}] += incident.times;
  out.gauge("gpuward_gpu_incidents", "How often the driver said this Xid in the last day.");
  for (const auto& [of, times] : incidents)
    out.sample(with(labels_of(report.gpu, of.first), "xid", std::to_string(of.second)), times);
}

void put_ourselves(const StatusReport& report, std::string_view version, Instant now,
                   Exposition& out) {
  out.gauge("gpuward_info", "Version of the program that tells.");
  out.sample({{"version", std::string(version)}}, 1);
  out.gauge("gpuward_warden_up", "Does a warden answer?");
  out.sample({}, report.warden ? 1 : 0);
  if (report.warden) {
    out.gauge("gpuward_warden_info", "Version of the warden.");
    out.sample({{"version", report.warden->version}}, 1);
    out.gauge("gpuward_warden_uptime_seconds", "Since the warden was started.");
    out.sample({}, static_cast<double>(report.warden->uptime_seconds));
    out.gauge("gpuward_ledger_writable", "Can what happens be recorded?");
    out.sample({}, report.warden->ledger_trouble.empty() ? 1 : 0);
  }
  out.gauge("gpuward_anchors", "Anchors that live.");
  double anchors = 0;
  for (const auto& service : report.services)
    for (const auto& replica : service.replicas) anchors += replica.anchor ? 1 : 0;
  out.sample({}, anchors);
  const GpuSnapshot& gpu = report.gpu;
  out.gauge("gpuward_gpu_sight", "What can be said of the cards as a whole: 1 for that.");
  put_states(out, {}, "sight", kSights, gpu.sight);
  if (gpu.taken_ns != 0) {
    out.gauge("gpuward_gpu_look_age_seconds", "Since the sentinel looked last.");
    const auto age = now.time_since_epoch() - std::chrono::nanoseconds(gpu.taken_ns);
    out.sample({}, std::chrono::duration<double>(age).count());
  }
  if (!gpu.driver_version.empty()) {
    out.gauge("gpuward_gpu_driver_info", "Versions of the driver's library and module.");
    out.sample({{"library", gpu.driver_version}, {"module", gpu.module_version}}, 1);
  }
  out.gauge("gpuward_gpu_driver_changed", "Was the driver exchanged under what runs?");
  out.sample({}, gpu.driver_changed ? 1 : 0);
  out.gauge("gpuward_sentinels_unkillable", "Sentinels that hang in the driver for good.");
  out.sample({}, gpu.unkillable_sentinels);
}

void put_services(const StatusReport& report, Exposition& out) {
  const auto each = [&](auto put) {
    for (const auto& service : report.services) put(service, Labels{{"service", service.name}});
  };
  out.gauge("gpuward_service_verdict", "Verdict on the service: 1 for the one it is.");
  each([&](const ServiceReport& service, const Labels& labels) {
    put_states(out, labels, "verdict", kVerdicts, service.verdict);
  });
  out.counter("gpuward_service_restarts_total", "Starts after the first, of all its replicas.");
  each([&](const ServiceReport& service, const Labels& labels) {
    out.sample(labels, service.restarts);
  });
  out.gauge("gpuward_service_containment", "How its trees are held: 1 for that.");
  each([&](const ServiceReport& service, const Labels& labels) {
    if (service.containment)
      out.sample(with(labels, "level", std::string(to_string(*service.containment))), 1);
  });
  const auto each_canary = [&](auto put) {
    for (const auto& service : report.services)
      if (service.canary && service.canary->last != CanaryResult::none)
        put(*service.canary, Labels{{"service", service.name}});
  };
  out.gauge("gpuward_service_canary", "What came of the last canary: 1 for that.");
  each_canary([&](const CanaryReport& canary, const Labels& labels) {
    put_states(out, labels, "result", kCanaryResults, canary.last);
  });
  out.gauge("gpuward_service_canary_age_seconds", "Since the last canary ended.");
  each_canary([&](const CanaryReport& canary, const Labels& labels) {
    out.sample(labels, canary.age_seconds);
  });
  out.gauge("gpuward_service_canary_changed", "Other answers than the known one in a row.");
  each_canary([&](const CanaryReport& canary, const Labels& labels) {
    if (canary.golden) out.sample(labels, canary.changed_in_a_row);
  });
  const auto each_replica = [&](auto value) {
    for (const auto& service : report.services)
      for (const auto& replica : service.replicas)
        if (const std::optional<double> number = value(replica))
          out.sample({{"service", service.name}, {"replica", std::to_string(replica.index)}},
                     *number);
  };
  out.gauge("gpuward_replica_generation", "How often it was started by its anchor.");
  each_replica(
      [](const ReplicaReport& replica) { return std::optional<double>(replica.generation); });
  out.gauge("gpuward_replica_processes", "Processes of its tree.");
  each_replica(
      [](const ReplicaReport& replica) { return std::optional<double>(replica.processes); });
  out.gauge("gpuward_replica_gpu_memory_bytes", "GPU memory that its tree holds.");
  each_replica([](const ReplicaReport& replica) {
    return replica.gpu_memory ? std::optional(static_cast<double>(replica.gpu_memory->count))
                              : std::nullopt;
  });
  out.counter(
      "gpuward_replica_log_lost_bytes_total",
      "Of what it printed, at least so much is not in its log: disk full, or beyond log.rate.");
  each_replica([](const ReplicaReport& replica) {
    return std::optional(static_cast<double>(replica.log_lost.count));
  });
}

}  // namespace

std::string metrics_text(const StatusReport& report, std::string_view version, Instant now) {
  Exposition out;
  put_ourselves(report, version, now, out);
  put_states_of_cards(report.gpu, out, now);
  put_marks(report, out);
  put_kernel_log(report, out);
  put_unexplained(report.gpu, out);
  put_families(memory_and_use(), report.gpu, out);
  put_families(climate(), report.gpu, out);
  put_families(errors_and_settings(), report.gpu, out);
  put_instances(report.gpu, out);
  put_services(report, out);
  return out.take();
}

}  // namespace gpuward
