#include "domain/doctor.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using std::chrono::hours;

// What is bad says what it costs and how to mend it.
void expect_complete(const Finding& finding) {
  EXPECT_FALSE(finding.check.empty());
  EXPECT_FALSE(finding.found.empty()) << finding.check;
  if (finding.grade < Grade::warn) return;
  EXPECT_FALSE(finding.cost.empty()) << finding.check;
  EXPECT_FALSE(finding.mend.empty()) << finding.check;
}

TEST(Doctor, TheWorstFindingIsTheExitCode) {
  const auto code = [](std::initializer_list<Grade> grades) {
    std::vector<Finding> all;
    for (const auto grade : grades) all.push_back({"x", grade, "x", "x", "x"});
    return exit_code_of(worst_of(all));
  };
  EXPECT_EQ(code({}), 0);
  EXPECT_EQ(code({Grade::ok, Grade::unseen}), 0);
  EXPECT_EQ(code({Grade::warn, Grade::ok}), 1);
  EXPECT_EQ(code({Grade::ok, Grade::fail, Grade::warn}), 2);
}

TEST(Doctor, KernelsAreWarnedOfOnlyWhereAFallbackPromisesLess) {
  KernelFacts facts{"6.15.0", true, true, true, true, true};
  EXPECT_EQ(check_kernel(facts).grade, Grade::ok);
  EXPECT_EQ(check_kernel(facts).found,
            "Linux 6.15.0: pidfd, clone3 into a cgroup, children in /proc, exit status by pidfd, "
            "PID namespaces");
  facts.clone_into_cgroup = facts.exit_info = false;
  EXPECT_EQ(check_kernel(facts).grade, Grade::ok);
  EXPECT_TRUE(check_kernel(facts).found.ends_with(
      "; not here: clone3 into a cgroup, exit status by pidfd"));
  facts.pidfd = false;
  EXPECT_EQ(check_kernel(facts).grade, Grade::warn);
  expect_complete(check_kernel(facts));
}

TEST(Doctor, ContainmentTellsWhatTheLevelCannotPromise) {
  CgroupFacts facts;
  facts.why_none = "EACCES";
  auto findings = check_cgroups(facts, true);
  EXPECT_EQ(findings[0].grade, Grade::warn);
  EXPECT_EQ(findings[0].cost, limits_of(Containment::subreaper));
  EXPECT_NE(findings[0].mend.find("pidns"), std::string::npos);
  EXPECT_EQ(check_cgroups(facts, false)[0].mend.find("pidns"), std::string::npos);
  expect_complete(findings[0]);

  facts.level = Containment::cgroup;
  facts.place = "cgroup2 at /x";
  facts.kill = facts.freeze = true;
  findings = check_cgroups(facts, true);
  EXPECT_EQ(findings[0].grade, Grade::ok);
  EXPECT_EQ(findings[0].found, "cgroup: cgroup2 at /x");
  EXPECT_EQ(findings[1].grade, Grade::ok);
  facts.kill = false;
  EXPECT_EQ(check_cgroups(facts, true)[0].grade, Grade::ok);
  facts.freeze = false;
  EXPECT_EQ(check_cgroups(facts, true)[0].grade, Grade::warn);

  facts.why_no_memory = "there is no memory controller";
  findings = check_cgroups(facts, true);
  EXPECT_EQ(findings[1].grade, Grade::unseen);
  EXPECT_EQ(findings[1].found, "memory_max cannot hold: there is no memory controller");
}

TEST(Doctor, FoldersAreJudgedByWhatIsLeft) {
  FolderFacts facts;
  facts.name = "state";
  facts.path = "/x";
  const auto grade = [&](Bytes free, Bytes size, bool in_memory, std::uint64_t files_free) {
    facts.free = free;
    facts.size = size;
    facts.in_memory = in_memory;
    facts.files = 1000;
    facts.files_free = files_free;
    expect_complete(check_folder(facts));
    return check_folder(facts).grade;
  };
  EXPECT_EQ(grade(30_GiB, 1000_GiB, false, 900), Grade::ok) << "few percent of much is much";
  EXPECT_EQ(grade(10_GiB, 1000_GiB, false, 900), Grade::warn);
  EXPECT_EQ(grade(2_GiB, 10_GiB, false, 900), Grade::ok);
  EXPECT_EQ(grade(1000_MiB, 10_GiB, false, 900), Grade::warn);
  EXPECT_EQ(grade(63_MiB, 10_GiB, false, 900), Grade::fail);
  EXPECT_EQ(grade(100_GiB, 200_GiB, false, 99), Grade::fail) << "no files left";
  EXPECT_EQ(grade(17_MiB, 100_MiB, true, 900), Grade::ok);
  EXPECT_EQ(grade(15_MiB, 100_MiB, true, 900), Grade::warn);
  EXPECT_EQ(grade(1023_KiB, 100_MiB, true, 900), Grade::fail);
  facts.files = facts.files_free = 0;
  facts.free = 100_MiB;
  EXPECT_EQ(check_folder(facts).grade, Grade::ok) << "a file system that does not count files";
  facts.why_unseen = "its file system does not answer";
  EXPECT_EQ(check_folder(facts).grade, Grade::unseen);
}

TEST(Doctor, SwapOnDiskIsWarnedOfAndInMemoryIsNot) {
  EXPECT_EQ(check_swap(std::nullopt).grade, Grade::unseen);
  EXPECT_EQ(check_swap(std::vector<SwapArea>{}).grade, Grade::ok);
  std::vector<SwapArea> areas = {{"/dev/zram0", 4_GiB, 0_GiB}};
  EXPECT_EQ(check_swap(areas).grade, Grade::ok);
  areas.push_back({"/dev/sda2", 8_GiB, 1_GiB});
  const auto finding = check_swap(areas);
  EXPECT_EQ(finding.grade, Grade::warn);
  EXPECT_EQ(finding.found, "8.0 GiB on /dev/sda2, 1.0 GiB of it used");
  expect_complete(finding);
}

TEST(Doctor, TempFoldersShowSizeAndOldest) {
  EXPECT_EQ(check_temp_folders({}, "").grade, Grade::ok);
  EXPECT_EQ(check_temp_folders({}, "does not answer").grade, Grade::unseen);
  TempFolderFacts fresh{"web.0", 2_MiB, 1, std::chrono::seconds(60), true};
  TempFolderFacts old{"x.ray.0", 3_MiB, 7, hours(48), false};
  EXPECT_EQ(check_temp_folders({fresh}, "").grade, Grade::ok);
  EXPECT_EQ(check_temp_folders({fresh}, "").found,
            "web.0 holds 2 MiB in 1 file, the oldest of 1 min ago");
  const auto finding = check_temp_folders({fresh, old}, "");
  EXPECT_EQ(finding.grade, Grade::warn);
  EXPECT_NE(finding.found.find("x.ray.0 holds more than 3 MiB in 7 files"), std::string::npos);
  EXPECT_TRUE(finding.mend.starts_with("gpuward restart x.ray ")) << finding.mend;
  expect_complete(finding);
  old.name = "x.ray.0.old";
  EXPECT_TRUE(check_temp_folders({old}, "").mend.starts_with("gpuward restart x.ray "));
  old.files = 0;
  EXPECT_EQ(check_temp_folders({old}, "").found, "empty");
}

TEST(Doctor, CoreDumpsAreWarnedOfWhereMemoryMayReachADisk) {
  const auto grade = [](std::optional<std::string> pattern, std::uint64_t soft) {
    const auto finding = check_core({std::move(pattern), kUnlimited, soft});
    expect_complete(finding);
    return finding.grade;
  };
  EXPECT_EQ(grade(std::nullopt, 0), Grade::unseen);
  EXPECT_EQ(grade("core", 0), Grade::ok);
  EXPECT_EQ(grade("core", kUnlimited), Grade::warn);
  EXPECT_EQ(grade("core", 4096), Grade::warn);
  EXPECT_EQ(grade("", kUnlimited), Grade::ok);
  EXPECT_EQ(grade("|/usr/share/apport/apport %p", 0), Grade::warn) << "a pipe heeds no limit";
  EXPECT_EQ(grade("|/usr/lib/systemd/systemd-coredump %P", 0), Grade::ok) << "but that one does";
  EXPECT_EQ(grade("|/usr/lib/systemd/systemd-coredump %P", kUnlimited), Grade::warn);
}

TEST(Doctor, TheWardenIsJudgedByItsAnswer) {
  const auto find = [](const std::vector<Finding>& all, std::string_view check) {
    for (const auto& one : all) {
      expect_complete(one);
      if (one.check == check) return one;
    }
    return Finding{"", Grade::ok, "missing", "", ""};
  };
  WardenFacts facts;
  facts.own_version = facts.version = "1.0";
  auto all = check_warden(facts);
  EXPECT_EQ(find(all, "warden").grade, Grade::unseen);
  EXPECT_EQ(find(all, "ledger").found, "missing");
  EXPECT_EQ(find(all, "anchors").grade, Grade::ok);

  facts.answer = WardenFacts::Answer::answers;
  EXPECT_EQ(find(check_warden(facts), "ledger").grade, Grade::ok);
  facts.ledger_trouble = "disk full";
  EXPECT_EQ(find(check_warden(facts), "ledger").grade, Grade::fail);
  facts.version = "0.9";
  EXPECT_EQ(find(check_warden(facts), "warden").grade, Grade::warn);
  facts.answer = WardenFacts::Answer::silent;
  EXPECT_EQ(find(check_warden(facts), "warden").grade, Grade::fail);
  facts.home_trouble = "/x belongs to another user";
  EXPECT_EQ(find(check_warden(facts), "folders").grade, Grade::fail);
  facts.anchors = 3;
  facts.anchors_silent = 1;
  EXPECT_EQ(find(check_warden(facts), "anchors").found, "3 trees held, 1 of them silent");
  facts.unowned = 1;
  EXPECT_EQ(find(check_warden(facts), "anchors").grade, Grade::fail);
  EXPECT_EQ(find(check_warden(facts), "anchors").mend, "gpuward up takes it over");
}

TEST(Doctor, OfTheUnitWhatHurtsIsNamed) {
  UnitFacts facts;
  EXPECT_EQ(check_unit(facts).grade, Grade::unseen);
  facts.systemd = true;
  EXPECT_EQ(check_unit(facts).grade, Grade::ok);
  facts.configured = true;
  EXPECT_EQ(check_unit(facts).grade, Grade::warn);
  facts.path = "/etc/systemd/system/gpuward.service";
  facts.text =
      "[Service]\nExecStart=-/opt/gpuward/gpuward up --foreground\nKillMode=process\n"
      "Delegate=cpu memory\nOOMPolicy=continue\nRuntimeDirectoryPreserve=yes\n";
  EXPECT_EQ(check_unit(facts).grade, Grade::ok);
  EXPECT_EQ(unit_program(facts.text), "/opt/gpuward/gpuward");
  facts.program_there = false;
  EXPECT_EQ(check_unit(facts).grade, Grade::warn);
  EXPECT_NE(check_unit(facts).found.find("/opt/gpuward/gpuward, which is not there"),
            std::string::npos);
  facts.text =
      "[Service]\nExecStart=/opt/gpuward/gpuward up --foreground\nDelegate=no\n"
      "OOMPolicy=continue\nRuntimeDirectoryPreserve=yes\n";
  const auto finding = check_unit(facts);
  EXPECT_NE(finding.found.find("without KillMode=process, Delegate=yes"), std::string::npos);
  EXPECT_EQ(finding.cost, "systemctl stop, restart or a crash ends every service");
}

TEST(Doctor, WhatOthersChoseIsShownHarmlessly) {
  FolderFacts folder;
  folder.name = "log";
  folder.path = "/x\x1b[31m";
  EXPECT_EQ(check_folder(folder).found.find('\x1b'), std::string::npos);
  EXPECT_EQ(check_kernel_log("\x1b]0;x").found.find('\x1b'), std::string::npos);
}

TEST(Doctor, TheClockAndTheKernelLog) {
  EXPECT_EQ(check_clock(std::nullopt).grade, Grade::unseen);
  EXPECT_EQ(check_clock(true).grade, Grade::ok);
  EXPECT_EQ(check_clock(false).grade, Grade::warn);
  EXPECT_EQ(check_kernel_log("").grade, Grade::ok);
  EXPECT_EQ(check_kernel_log("Operation not permitted").grade, Grade::warn);
}

}  // namespace
}  // namespace gpuward
