#include "domain/doctor_gpu.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

void expect_complete(const Finding& finding) {
  EXPECT_FALSE(finding.found.empty()) << finding.check;
  if (finding.grade < Grade::warn) return;
  EXPECT_FALSE(finding.cost.empty()) << finding.check;
  EXPECT_FALSE(finding.mend.empty()) << finding.check;
}

GpuDevice card() {
  GpuDevice device;
  device.name = "Simulated A100";
  device.memory_answer = Answer::known;
  device.memory_total = 40_GiB;
  device.processes_visible = true;
  return device;
}

GpuSnapshot one(GpuDevice device) {
  GpuSnapshot look;
  look.sight = GpuSight::visible;
  look.detail = "driver 570.86.10";
  look.pids_are_ours = true;
  look.devices.push_back(std::move(device));
  return look;
}

const Finding* find(const std::vector<Finding>& all, std::string_view check) {
  for (const auto& finding : all) expect_complete(finding);
  for (const auto& finding : all)
    if (finding.check == check) return &finding;
  return nullptr;
}

TEST(DoctorGpu, WithoutACardNoDriverIsNoTrouble) {
  DriverFacts facts;
  for (const auto sight : {GpuSight::no_library, GpuSight::no_driver, GpuSight::no_gpu}) {
    facts.look.sight = sight;
    facts.cards = std::vector<PciCard>{};
    EXPECT_EQ(check_driver(facts).grade, Grade::unseen);
    facts.cards = std::nullopt;
    EXPECT_EQ(check_driver(facts).grade, Grade::unseen);
    facts.cards = std::vector<PciCard>{{"0000:61:00.0", "", std::nullopt}};
    EXPECT_EQ(check_driver(facts).grade, Grade::fail);
    expect_complete(check_driver(facts));
  }
}

TEST(DoctorGpu, EveryOtherSightIsGraded) {
  struct Row {
    GpuSight sight;
    Grade grade;
  };
  for (const Row& row :
       {Row{GpuSight::visible, Grade::ok}, Row{GpuSight::mismatch, Grade::fail},
        Row{GpuSight::no_permission, Grade::warn}, Row{GpuSight::hung, Grade::fail},
        Row{GpuSight::failed, Grade::fail}, Row{GpuSight::unknown, Grade::unseen},
        Row{GpuSight::cut_off, Grade::fail}}) {
    DriverFacts facts;
    facts.look = one(card());
    facts.look.sight = row.sight;
    EXPECT_EQ(check_driver(facts).grade, row.grade) << to_string(row.sight);
    expect_complete(check_driver(facts));
  }
}

TEST(DoctorGpu, AMismatchNamesBothVersions) {
  DriverFacts facts;
  facts.look.sight = GpuSight::mismatch;
  facts.module_version = "535.183.01";
  facts.library_version = "570.86.10";
  EXPECT_EQ(check_driver(facts).found,
            "it was changed underneath: kernel module 535.183.01, library 570.86.10");
  facts.look = one(card());
  EXPECT_EQ(check_driver(facts).grade, Grade::ok) << "who sees the cards has no mismatch";
  facts.look.driver_changed = true;
  EXPECT_EQ(check_driver(facts).grade, Grade::fail);
}

TEST(DoctorGpu, NumaIsATroubleOnlyWhereThereAreNodes) {
  DriverFacts facts;
  EXPECT_EQ(check_numa(facts).grade, Grade::unseen);
  facts.cards = std::vector<PciCard>{};
  EXPECT_EQ(check_numa(facts).grade, Grade::unseen);
  facts.cards = {{"0000:61:00.0", "nvidia", 1}, {"0000:62:00.0", "nvidia", std::nullopt}};
  EXPECT_EQ(check_numa(facts).grade, Grade::ok);
  facts.numa_nodes = 2;
  EXPECT_EQ(check_numa(facts).grade, Grade::warn);
  EXPECT_EQ(check_numa(facts).found,
            "0000:61:00.0 at node 1, 0000:62:00.0 at no known node; 2 nodes");
  expect_complete(check_numa(facts));
  facts.cards->back().numa_node = 0;
  EXPECT_EQ(check_numa(facts).grade, Grade::ok);
}

TEST(DoctorGpu, ACardThatIsWellIsOneLine) {
  auto device = card();
  device.climate.temperature_celsius = 41U;
  device.climate.power_milliwatts = 52'400U;
  device.climate.power_limit_milliwatts = 400'000U;
  device.place.persistence = true;
  const auto findings = check_cards(one(device));
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].grade, Grade::ok);
  EXPECT_EQ(findings[0].found,
            "GPU 0 (Simulated A100): 0 B of 40.0 GiB used, 41 C, 52 W of 400 W, persistence on");
}

TEST(DoctorGpu, ABrokenCardIsOneLineAndSaysWhy) {
  for (const auto state : {GpuState::lost, GpuState::reset_required, GpuState::suspect,
                           GpuState::unreadable, GpuState::cut_off}) {
    auto device = card();
    device.state = state;
    device.detail = "nvmlX: code 15";
    device.place.persistence = false;
    const auto findings = check_cards(one(device));
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].grade, Grade::fail);
    EXPECT_NE(findings[0].found.find("(nvmlX: code 15)"), std::string::npos);
    expect_complete(findings[0]);
  }
}

TEST(DoctorGpu, EachTroubleOfACardHasALineOfItsOwn) {
  struct Row {
    const char* check;
    Grade grade;
    void (*change)(GpuDevice&);
  };
  for (const Row& row : {
           Row{"GPU 0 persistence", Grade::warn, [](auto& d) { d.place.persistence = false; }},
           {"GPU 0 compute mode", Grade::fail, [](auto& d) { d.place.compute_mode = 2U; }},
           {"GPU 0 clocks", Grade::warn,
            [](auto& d) { d.climate.clock_reasons = kReasonHardwareThermal; }},
           {"GPU 0 memory", Grade::fail, [](auto& d) { d.errors.remap_failed = true; }},
           {"GPU 0 memory", Grade::fail, [](auto& d) { d.errors.sram_threshold_exceeded = true; }},
           {"GPU 0 memory", Grade::warn, [](auto& d) { d.errors.remap_pending = true; }},
           {"GPU 0 memory", Grade::warn, [](auto& d) { d.errors.retirement_pending = true; }},
           {"GPU 0 ECC", Grade::warn, [](auto& d) { d.errors.ecc_uncorrected = std::uint64_t{2}; }},
           {"GPU 0 advice", Grade::fail, [](auto& d) { d.errors.advice = GpuAdvice::reboot; }},
           {"GPU 0 link", Grade::warn, [](auto& d) { d.link.width = 8U, d.link.width_max = 16U; }},
       }) {
    auto device = card();
    row.change(device);
    const auto findings = check_cards(one(device));
    EXPECT_EQ(findings.size(), 2U) << row.check;
    const auto* finding = find(findings, row.check);
    ASSERT_NE(finding, nullptr) << row.check;
    EXPECT_EQ(finding->grade, row.grade) << row.check;
  }
}

TEST(DoctorGpu, WhatIsUsualOfACardIsNoTrouble) {
  auto device = card();
  device.climate.clock_reasons = kReasonSoftwarePower | 0x1 | 0x2;  // idle, set by somebody
  device.errors.ecc_corrected = std::uint64_t{9};
  device.errors.advice = GpuAdvice::none;
  device.link.width = device.link.width_max = 16U;
  device.link.generation = 1U;  // an idle link is slow
  device.link.generation_max = 4U;
  device.place.persistence = Reading<bool>::none(Answer::not_supported);
  const auto findings = check_cards(one(device));
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_NE(findings[0].found.find("its clocks are set by somebody"), std::string::npos);
}

TEST(DoctorGpu, RowsAreComparedWithWhatIsUsed) {
  const auto grade = [](Bytes used, Bytes row, void (*change)(GpuDevice&) = nullptr) {
    auto device = card();
    device.memory_used = used;
    GpuProcess process;
    process.pid = 7;
    process.memory = row;
    device.processes.push_back(process);
    if (change != nullptr) change(device);
    const auto findings = check_lists(one(device));
    const auto* finding = find(findings, "list of GPU 0");
    return finding == nullptr ? Grade::fail : finding->grade;
  };
  EXPECT_EQ(grade(4_GiB, 4_GiB), Grade::ok);
  EXPECT_EQ(grade(4_GiB + 512_MiB, 4_GiB), Grade::ok);
  EXPECT_EQ(grade(4_GiB + 513_MiB, 4_GiB), Grade::warn) << "unexplained";
  EXPECT_EQ(grade(4_GiB, 4_GiB + 65_MiB), Grade::warn) << "more than there is";
  EXPECT_EQ(grade(9_GiB, 1_GiB, [](auto& d) { d.processes_visible = false; }), Grade::unseen);
  EXPECT_EQ(grade(1_GiB, 1_GiB, [](auto& d) { d.rows_refused = 1; }), Grade::warn);
  const auto hide = [](GpuDevice& d) {
    d.processes.emplace_back().memory = Reading<Bytes>::none(Answer::cannot_see, 1);
  };
  EXPECT_EQ(grade(9_GiB, 1_GiB, hide), Grade::unseen) << "a row's memory is not told";
  EXPECT_EQ(grade(1_GiB, 2_GiB, hide), Grade::warn) << "more than there is, whatever it holds";
  auto look = one(card());
  EXPECT_EQ(find(check_lists(look), "pid space")->grade, Grade::ok);
  look.pids_are_ours = false;
  EXPECT_EQ(find(check_lists(look), "pid space")->grade, Grade::warn);
  EXPECT_EQ(find(check_lists(look), "list of GPU 0")->grade, Grade::unseen);
  look.sight = GpuSight::no_gpu;
  EXPECT_TRUE(check_lists(look).empty());
}

TEST(DoctorGpu, SelfTestsAreReadLineByLine) {
  const auto tests = parse_self_tests(
      "ok stride GPU 0: 3 rows\nnonsense\ndiffers stride GPU 1: \x1b[31mred\nunseen gpm none\n ok "
      "x\n");
  ASSERT_EQ(tests.size(), 3U);
  EXPECT_EQ(tests[0].name, "stride");
  EXPECT_EQ(tests[0].text, "GPU 0: 3 rows");
  EXPECT_EQ(tests[1].text.find('\x1b'), std::string::npos);
  EXPECT_EQ(tests[2].outcome, SelfTest::Outcome::unseen);
  const auto findings = check_self_tests(tests, "");
  ASSERT_EQ(findings.size(), 2U) << "a line a test";
  EXPECT_EQ(findings[0].grade, Grade::warn);
  EXPECT_TRUE(findings[0].found.starts_with("GPU 1"));
  EXPECT_EQ(findings[1].grade, Grade::unseen);
  for (const auto& finding : findings) expect_complete(finding);
  EXPECT_EQ(check_self_tests({}, "they do not come back")[0].grade, Grade::warn);
}

TEST(DoctorGpu, AProvenTestIsProvenThoughAnotherCardHadNothingToTestBy) {
  const auto findings = check_self_tests(
      parse_self_tests("unseen stride GPU 0: none\nok stride GPU 1: 2 rows\n"), "");
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_EQ(findings[0].grade, Grade::ok);
}

TEST(DoctorGpu, UpgradesAreWarnedOfOnlyWhereTheyMayTakeTheDriver) {
  const auto grade = [](const UpgradeFacts& facts) {
    expect_complete(check_upgrades(facts));
    return check_upgrades(facts).grade;
  };
  UpgradeFacts facts;
  EXPECT_EQ(grade(facts), Grade::ok);
  facts.apt = true;
  EXPECT_EQ(grade(facts), Grade::ok) << "no driver package";
  facts.packages = {{"nvidia-driver-570", false}, {"libnvidia-compute-570", true}};
  EXPECT_EQ(grade(facts), Grade::warn);
  EXPECT_EQ(check_upgrades(facts).found, "unattended-upgrades may exchange nvidia-driver-570");
  facts.blacklist = {"nvidia-"};
  EXPECT_EQ(grade(facts), Grade::ok);
  facts = {};
  facts.dnf = true;
  EXPECT_EQ(grade(facts), Grade::ok) << "no driver";
  facts.module_loaded = true;
  EXPECT_EQ(grade(facts), Grade::warn);
  facts.dnf_spares = true;
  EXPECT_EQ(grade(facts), Grade::ok);
}

TEST(DoctorGpu, TheToolkitIsWarnedOfWhereAReloadTakesTheCards) {
  ToolkitFacts facts;
  EXPECT_EQ(check_toolkit(facts).grade, Grade::unseen);
  facts.installed = true;
  EXPECT_EQ(check_toolkit(facts).grade, Grade::ok);
  facts.systemd = true;
  EXPECT_EQ(check_toolkit(facts).grade, Grade::warn);
  expect_complete(check_toolkit(facts));
  for (bool ToolkitFacts::* safe :
       {&ToolkitFacts::cgroupfs, &ToolkitFacts::cdi, &ToolkitFacts::char_links}) {
    auto with = facts;
    with.*safe = true;
    EXPECT_EQ(check_toolkit(with).grade, Grade::ok);
  }
}

}  // namespace
}  // namespace gpuward
