#include "domain/metrics.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

#include "domain/exposition.h"

namespace gpuward {
namespace {

const Instant kNow{std::chrono::seconds(1000)};

// Every reading of a card known: what could be told is told.
GpuDevice full_card() {
  GpuDevice d;
  d.uuid = "GPU-1";
  d.name = "Simulated A100";
  d.memory_answer = Answer::known;
  d.memory_total = 40_GiB;
  d.memory_used = 8_GiB;
  d.processes_visible = true;
  d.processes.resize(1);
  d.processes[0].memory = 6_GiB;
  d.read_ns = std::chrono::nanoseconds(std::chrono::seconds(998)).count();
  d.busy_percent = d.memory_busy_percent = 41U;
  d.activity.engine_percent = d.activity.sm_percent = d.activity.occupancy_percent = 50.0;
  d.activity.tensor_percent = d.activity.dram_percent = d.activity.switch_active_percent = 1.0;
  d.activity.pcie_tx_mib_per_second = d.activity.pcie_rx_mib_per_second = 2.0;
  auto& c = d.climate;
  c.temperature_celsius = c.memory_temperature_celsius = c.slowdown_celsius = 60U;
  c.power_milliwatts = c.power_limit_milliwatts = 52'500U;
  c.energy_millijoules = std::uint64_t{1'234'567};
  c.sm_clock_mhz = c.sm_clock_max_mhz = 1410U;
  c.clock_reasons = kReasonPowerBrake;
  auto& h = c.held_down;
  for (auto* ns :
       {&h.power_ns, &h.thermal_ns, &h.sync_boost_ns, &h.board_ns, &h.low_utilization_ns,
        &h.reliability_ns, &h.software_thermal_ns, &h.hardware_thermal_ns, &h.power_brake_ns})
    *ns = std::uint64_t{1'500'000'000};
  auto& e = d.errors;
  e.ecc_corrected = e.ecc_uncorrected = e.ecc_corrected_ever = e.ecc_uncorrected_ever =
      std::uint64_t{3};
  e.rows_remapped_corrected = e.rows_remapped_uncorrected = e.pages_retired = 1U;
  e.remap_pending = e.remap_failed = e.retirement_pending = e.sram_threshold_exceeded = false;
  e.pcie_corrected = e.pcie_nonfatal = e.pcie_fatal = std::uint64_t{0};
  e.advice = GpuAdvice::reset;
  d.link.generation = d.link.generation_max = d.link.width = d.link.width_max = 4U;
  d.link.tx_bytes = d.link.rx_bytes = std::uint64_t{1} << 40;
  d.place.persistence = d.place.ecc = d.place.accounting = d.place.mig = true;
  d.instances.push_back({"MIG-1", 1, 0, 5_GiB, 1_GiB, 14});
  return d;
}

StatusReport full_report() {
  StatusReport report;
  report.warden = WardenReport{Pid{1}, "1.2.3", 60, ""};
  report.gpu.sight = GpuSight::visible;
  report.gpu.pids_are_ours = true;
  report.kernel_log = KernelLogReport{KernelLogSight::read, "/dev/kmsg", "", 5};
  CardMark mark;
  mark.uuid = "GPU-1";
  mark.quarantined = true;
  mark.evidence = "secret-patient-name";
  report.cards.push_back(mark);
  for (const auto* uuid : {"GPU-1", "GPU-1", ""}) {
    CardIncident incident;
    incident.gpu_uuid = uuid;
    incident.xid = 79;
    incident.times = 2;
    incident.process = "secret-patient-name";
    report.incidents.push_back(incident);
  }
  report.gpu.taken_ns = full_card().read_ns;
  report.gpu.driver_version = "570.86.10";
  report.gpu.devices.push_back(full_card());
  ServiceReport service;
  service.canary.emplace();
  service.canary->golden = true;
  service.canary->last = CanaryResult::changed;
  service.canary->detail = "first difference at /measures/heart";
  service.canary->age_seconds = 12;
  service.canary->changed_in_a_row = 3;
  service.name = "xray";
  service.verdict = Verdict::healthy;
  service.sentence = "ready for 4 min";
  service.containment = Containment::cgroup;
  service.restarts = 2;
  ReplicaReport replica;
  replica.anchor = Pid{7};
  replica.generation = 3;
  replica.processes = 6;
  replica.gpu_memory = 6_GiB;
  replica.log_lost = {4096};
  replica.tree = {{Pid{8}, Pid{7}, 0, "python secret-patient-name.py"}};
  service.replicas.push_back(replica);
  report.services.push_back(service);
  return report;
}

std::string full_text() {
  return metrics_text(full_report(), "1.2.3", kNow);
}

bool has_line(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

std::set<std::string> families(const std::string& text) {
  std::set<std::string> names;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("# TYPE ")) {
      const auto name = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(names.insert(name).second) << name << " is there twice";
    }
  return names;
}

TEST(Metrics, NumbersHaveTheUnitsOfTheirNames) {
  const auto text = full_text();
  const std::string card = R"({gpu="GPU-1",index="0",name="Simulated A100")";
  EXPECT_TRUE(has_line(text, "gpuward_gpu_memory_used_bytes" + card + "} 8589934592"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_memory_unexplained_bytes" + card + "} 2147483648"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_busy_ratio" + card + "} 0.41"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_power_watts" + card + "} 52.5"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_energy_joules_total" + card + "} 1234.567"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_sm_clock_hertz" + card + "} 1.41e+09") ||
              has_line(text, "gpuward_gpu_sm_clock_hertz" + card + "} 1410000000"));
  EXPECT_TRUE(has_line(
      text, "gpuward_gpu_held_down_seconds_total" + card + ",reason=\"software_thermal\"} 1.5"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_age_seconds" + card + "} 2"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_clock_held_down" + card + ",reason=\"power_brake\"} 1"));
  EXPECT_TRUE(
      has_line(text, "gpuward_gpu_clock_held_down" + card + ",reason=\"software_power\"} 0"));
  EXPECT_TRUE(has_line(text, "gpuward_service_restarts_total{service=\"xray\"} 2"));
  EXPECT_TRUE(has_line(
      text, "gpuward_replica_gpu_memory_bytes{service=\"xray\",replica=\"0\"} 6442450944"));
  EXPECT_TRUE(
      has_line(text, "gpuward_replica_log_lost_bytes_total{service=\"xray\",replica=\"0\"} 4096"));
  EXPECT_TRUE(has_line(text, "gpuward_warden_up 1"));
  EXPECT_TRUE(has_line(text, "gpuward_anchors 1"));
}

TEST(Metrics, ACanaryIsTold) {
  const auto text = full_text();
  EXPECT_TRUE(has_line(text, R"(gpuward_service_canary{service="xray",result="changed"} 1)"));
  EXPECT_TRUE(has_line(text, R"(gpuward_service_canary{service="xray",result="right"} 0)"));
  EXPECT_TRUE(has_line(text, R"(gpuward_service_canary_age_seconds{service="xray"} 12)"));
  EXPECT_TRUE(has_line(text, R"(gpuward_service_canary_changed{service="xray"} 3)"));
  EXPECT_EQ(text.find("/measures"), text.npos);
  auto report = full_report();
  report.services[0].canary->last = CanaryResult::none;
  EXPECT_EQ(metrics_text(report, "1", kNow).find("gpuward_service_canary"), std::string::npos);
}

TEST(Metrics, MarksAndIncidentsAreOfTheirCard) {
  const auto text = full_text();
  const std::string card = R"({gpu="GPU-1",index="0",name="Simulated A100")";
  EXPECT_TRUE(has_line(text, "gpuward_gpu_quarantined" + card + "} 1"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_cordoned" + card + "} 0"));
  EXPECT_TRUE(has_line(text, "gpuward_gpu_incidents" + card + ",xid=\"79\"} 4"));
  EXPECT_TRUE(has_line(text, R"(gpuward_gpu_incidents{gpu="",index="",name="",xid="79"} 2)"));
  EXPECT_TRUE(has_line(text, R"(gpuward_kernel_log_sight{sight="read"} 1)"));
  EXPECT_TRUE(has_line(text, "gpuward_kernel_log_lost_records_total 5"));
  auto report = full_report();
  report.gpu.devices.clear();
  EXPECT_TRUE(has_line(metrics_text(report, "1", kNow),
                       R"(gpuward_gpu_quarantined{gpu="GPU-1",index="",name=""} 1)"))
      << "it is seen no more, and out of use all the same";
}

TEST(Metrics, EveryVerdictIsAlwaysThere) {
  const auto text = full_text();
  for (int n = 0; n <= static_cast<int>(Verdict::gpu_lost); ++n) {
    const auto verdict = static_cast<Verdict>(n);
    if (verdict == Verdict::healthy) continue;
    EXPECT_TRUE(has_line(text, "gpuward_service_verdict{service=\"xray\",verdict=\"" +
                                   std::string(to_string(verdict)) + "\"} 0"))
        << n;
  }
}

TEST(Metrics, WhatRowsCannotExplainIsNotCalledUnexplained) {
  auto report = full_report();
  const auto is_told = [&] {
    return families(metrics_text(report, "1", kNow))
        .contains("gpuward_gpu_memory_unexplained_bytes");
  };
  EXPECT_TRUE(is_told());
  report.gpu.pids_are_ours = false;
  EXPECT_FALSE(is_told());
  report.gpu.pids_are_ours = true;
  report.gpu.devices[0].processes.emplace_back().memory =
      Reading<Bytes>::none(Answer::cannot_see, 1);
  EXPECT_FALSE(is_told());
}

TEST(Metrics, OfEachStateSetExactlyOneHolds) {
  const auto text = full_text();
  for (const std::string name :
       {"gpuward_service_verdict", "gpuward_gpu_state", "gpuward_gpu_advice", "gpuward_gpu_sight",
        "gpuward_kernel_log_sight"}) {
    std::istringstream lines(text);
    int ones = 0;
    int all = 0;
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with(name + "{")) ++all, ones += line.ends_with(" 1") ? 1 : 0;
    EXPECT_EQ(ones, 1) << name;
    EXPECT_GT(all, 4) << name;
  }
  EXPECT_TRUE(has_line(text, R"(gpuward_service_verdict{service="xray",verdict="HEALTHY"} 1)"));
}

TEST(Metrics, WhatIsNotKnownIsLeftOut) {
  StatusReport report;
  report.gpu.devices.emplace_back();
  report.services.emplace_back().name = "x";
  report.services[0].replicas.emplace_back();
  const auto text = metrics_text(report, "1", kNow);
  const auto told = families(text);
  for (const char* name :
       {"gpuward_gpu_memory_used_bytes", "gpuward_gpu_busy_ratio", "gpuward_gpu_age_seconds",
        "gpuward_gpu_power_watts", "gpuward_replica_gpu_memory_bytes", "gpuward_warden_info",
        "gpuward_gpu_look_age_seconds", "gpuward_gpu_advice", "gpuward_gpu_processes"})
    EXPECT_FALSE(told.contains(name)) << name;
  EXPECT_TRUE(has_line(text, "gpuward_warden_up 0"));
}

TEST(Metrics, TheDocumentNamesExactlyWhatIsTold) {
  std::ifstream file(GPUWARD_SOURCE_DIR "/docs/metrics.md");
  std::set<std::string> documented;
  for (std::string line; std::getline(file, line);) {
    const auto begin = line.find("`gpuward_");
    if (!line.starts_with("| ") || begin == std::string::npos) continue;
    documented.insert(line.substr(begin + 1, line.find_first_of("`{", begin + 1) - begin - 1));
  }
  EXPECT_EQ(documented, families(full_text()));
}

TEST(Metrics, NoTextOfServicesOrUsersIsTold) {
  EXPECT_EQ(full_text().find("patient"), std::string::npos);
  EXPECT_EQ(full_text().find("ready for"), std::string::npos);
}

TEST(Metrics, LabelsCannotBreakTheFormat) {
  EXPECT_EQ(label_value("a\"b\\c"), R"(a\"b\\c)");
  EXPECT_EQ(label_value("a\nb\x1b\x80").find('\n'), std::string::npos);
  Exposition out;
  out.gauge("x", "Help.");
  out.sample({{"l", "}\" 1\nevil 2"}}, 1);
  const auto text = out.take();
  EXPECT_EQ(std::ranges::count(text, '\n'), 3) << text;
  EXPECT_NE(text.find(R"(x{l="}\" 1)"), std::string::npos) << text;
}

TEST(Metrics, AFamilyWithoutSamplesIsNotThere) {
  Exposition out;
  out.gauge("x", "Help.");
  out.counter("y_total", "Help.");
  out.sample({}, 0.25);
  EXPECT_EQ(out.take(), "# HELP y_total Help.\n# TYPE y_total counter\ny_total 0.25\n");
}

}  // namespace
}  // namespace gpuward
