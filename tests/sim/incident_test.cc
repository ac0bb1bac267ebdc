#include "tool/incident.h"

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

#include "tool/play.h"
#include "world.h"

namespace gpuward::gpusim::test {
namespace {

using tool::Incident;
using tool::parse_incident;
using tool::Step;
using Words = std::vector<std::string>;
constexpr std::uint64_t kMs = 1'000'000;

/// "LINE: what" of each problem.
Words problems(Incident incident) {
  tool::check_incident(incident, {}, "kmsg");
  Words texts;
  for (const tool::Problem& problem : incident.problems)
    texts.push_back(std::to_string(problem.line) + ": " + problem.what);
  return texts;
}

TEST(Incident, TimesAreRelativeToTheLineBeforeOrToTheStart) {
  const Incident incident = parse_incident(
      "heal\n"
      "\n"
      "+1.5s heal   # a comment\n"
      "# another\n"
      "+250us heal\n"
      "heal\n"
      "2s heal");
  EXPECT_TRUE(incident.problems.empty());
  const std::vector<Step> steps = {{1, 0, {"heal"}},
                                   {3, 1500 * kMs, {"heal"}},
                                   {5, 1500 * kMs + 250'000, {"heal"}},
                                   {6, 1500 * kMs + 250'000, {"heal"}},
                                   {7, 2000 * kMs, {"heal"}}};
  EXPECT_EQ(incident.steps, steps);
}

TEST(Incident, QuotesHoldWordsTogether) {
  const Incident incident = parse_incident("kmsg \"a # \\\"b\\\" \\\\\" --kmsg x#y \"\"");
  ASSERT_EQ(incident.steps.size(), 1U);
  EXPECT_EQ(incident.steps[0].words, (Words{"kmsg", "a # \"b\" \\", "--kmsg", "x#y", ""}));
}

TEST(Incident, OffsetsNeedAUnitAndAreBounded) {
  std::uint64_t ns = 0;
  EXPECT_TRUE(tool::parse_offset("1.5s", ns));
  EXPECT_EQ(ns, 1500 * kMs);
  EXPECT_TRUE(tool::parse_offset("0.000000001s", ns));
  EXPECT_EQ(ns, 1U);
  EXPECT_TRUE(tool::parse_offset("1h", ns));
  for (const char* wrong : {"", "5", "s", ".5s", "1.s", "-1s", "1 s", "1h1m", "1.1h", "2h",
                            "9999999999s", "999999999h", "1.0000000001s", "1e3s"}) {
    EXPECT_FALSE(tool::parse_offset(wrong, ns)) << wrong;
  }
}

TEST(Incident, EveryProblemIsToldWithItsLine) {
  EXPECT_EQ(problems(parse_incident("1s heal\n"
                                    "500ms heal\n"
                                    "+1x heal\n"
                                    "+1s\n"
                                    "kmsg \"open\n"
                                    "kmsg \"a\\n\"\n"
                                    "dance\n"
                                    "fault dance\n"
                                    "fault xid 31 --pid @nobody\n"
                                    "fault xid 31 --pid 0\n"
                                    "fault throttle 101\n"
                                    "phantom\n"
                                    "process 1st\n"
                                    "process a\n"
                                    "process a\n"
                                    "end a\n"
                                    "end a\n"
                                    "process b --count 64\n"
                                    "fault temperature --help\n")),
            (Words{
                "2: '500ms' is before the time of the step above",
                "3: '+1x' is no time of at most 1 h; 1.5s, +200ms",
                "4: a time, but nothing to do then",
                "5: a quote is not closed",
                "6: a backslash in quotes stands before \" or \\ only",
                "7: 'dance' is neither fault, heal, kmsg, process or end, nor a fault",
                "8: no fault is called 'dance'",
                "9: no process is called 'nobody' so far",
                "10: --pid: Value 0 not in range 1 to 2147483647",
                "11: percent: Value 101 not in range 1 to 100",
                "12: --memory is required",
                "13: name: '1st' is no name: a-z, 0-9, - and _, 15 at most",
                "15: there is a process 'a' already",
                "17: no process is called 'a' so far",
                "18: more than 64 processes",
                "19: degrees is required",
            }));
}

TEST(Incident, FilesAreBounded) {
  EXPECT_EQ(parse_incident(std::string(tool::kMaxIncidentBytes + 1, '#')).problems.size(), 1U);
  std::string many;
  for (std::size_t i = 0; i <= tool::kMaxSteps + 5; ++i) many += "heal\n";
  const Incident incident = parse_incident(many);
  EXPECT_EQ(incident.steps.size(), tool::kMaxSteps);
  ASSERT_EQ(incident.problems.size(), 1U);
  EXPECT_EQ(incident.problems[0].what, "more than 1000 steps");
  EXPECT_EQ(parse_incident("kmsg" + std::string(80, ' ') + std::string(64, 'a')).problems.size(),
            0U);
  std::string words;
  for (int i = 0; i < 40; ++i) words += "a ";
  EXPECT_EQ(parse_incident(words).problems.size(), 1U);
  EXPECT_EQ(parse_incident("1h heal\n+1ns heal").problems.size(), 1U);
}

TEST(Incident, FaultIsUnderstoodAndEachLineStandsForItself) {
  tool::LineReader reader("");
  const auto first = reader.read({"fault", "phantom", "--memory", "2GiB", "--gpu", "3"}, {});
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(std::get<tool::Command>(*first).request.scope.gpu, 3);
  const auto second = reader.read({"phantom", "--memory", "1GiB"}, {});
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(std::get<tool::Command>(*second).request.scope.gpu, -1) << "nothing is left of before";
  EXPECT_EQ(std::get<tool::Command>(*second).request.amount, 1U << 30);
  const auto third = reader.read({"xid", "31", "--pid=@w"}, {{"w", 77}});
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(std::get<tool::Command>(*third).request.scope.pid, 77);
}

TEST(Incident, TheFilesOfTheRepositoryAreSound) {
  unsigned count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(GPUWARD_SOURCE_DIR "/tests/incidents")) {
    if (entry.path().extension() != ".incident") continue;
    ++count;
    const auto text = os::read_file(entry.path().string());
    ASSERT_TRUE(text.has_value());
    EXPECT_EQ(problems(parse_incident(*text)), Words()) << entry.path();
  }
  EXPECT_GE(count, 9U);
}

std::string write_file(World& world, const std::string& text) {
  const std::string path = world.folder() + "/play";
  std::ofstream(path) << text;
  return path;
}

TEST(Play, StepsHappenInTimeAndProcessesLeaveWithIt) {
  World world({"--memory", "8GiB"});
  const std::string log = world.folder() + "/kmsg";
  const std::string file = write_file(world,
                                      "process worker --memory 1GiB --count 2\n"
                                      "+200ms fault xid 43 --pid @worker\n"
                                      "kmsg \"usb 1-1: new device\"\n"
                                      "phantom --memory 512MiB\n");
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(world.gpusim({"play", file, "--kmsg", log}), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(200));
  EXPECT_NE(world.output().find("process worker --memory 1GiB --count 2\n"), std::string::npos);
  const std::string lines = os::read_file(log).value_or("");
  EXPECT_NE(lines.find("name=worker, Ch 00000008\n4,1,"), std::string::npos) << lines;
  EXPECT_TRUE(lines.ends_with(",-;usb 1-1: new device\n")) << lines;
  EXPECT_TRUE(world.wait_shown("memory_used_bytes", 512U << 20)) << "the workers' is back";
}

TEST(Play, ANameCanBeAProcessThatIsThereAlready) {
  World world({"--memory", "8GiB"});
  auto victim = world.client({"hold", "4096"});
  ASSERT_EQ(victim->line(), "ready");
  const std::string file = write_file(world,
                                      "process worker --memory 1GiB\n"
                                      "fault lost-context --pid @worker\n"
                                      "end worker\n");
  ASSERT_EQ(world.gpusim({"play", "--name", "worker=" + std::to_string(victim->pid()), file}), 0);
  victim->tell("sync");
  EXPECT_EQ(number_after(victim->line(), "code"), 719U) << "it was hit, and it was not ended";
}

TEST(Play, ProcessesCanOutliveTheIncident) {
  World world({"--memory", "8GiB"});
  const std::string file = write_file(world, "process left --memory 1GiB --stay 700ms\n");
  ASSERT_EQ(world.gpusim({"play", file}), 0);
  EXPECT_EQ(world.shown("memory_used_bytes"), 1U << 30);
  EXPECT_TRUE(world.wait_shown("memory_used_bytes", 0));
}

TEST(Play, ASignalEndsItAtOnceAndItsProcessesToo) {
  World world({"--memory", "8GiB"});
  const std::string file = write_file(world, "process worker --memory 1GiB\n+1h heal\n");
  Child player("gpusim", {"play", file}, world.state());
  ASSERT_NE(player.line(), "");
  ASSERT_NE(player.line(), "") << "the process's number";
  player.signal(SIGINT);
  EXPECT_EQ(player.wait(), 130);
  EXPECT_TRUE(world.wait_shown("memory_used_bytes", 0));
}

TEST(Play, AWrongFileChangesNothing) {
  World world({"--memory", "8GiB"});
  const std::string file = write_file(world, "phantom --memory 1GiB\nphantom\n");
  EXPECT_EQ(world.gpusim({"play", file}), 2);
  EXPECT_EQ(world.gpusim({"play", "--check", file}), 2);
  EXPECT_EQ(world.shown("memory_used_bytes"), 0U);
  EXPECT_EQ(world.gpusim({"play", world.folder() + "/none"}), 1);
  EXPECT_EQ(world.gpusim({"play", "--check", write_file(world, "kmsg a\n")}), 0);
  EXPECT_EQ(world.gpusim({"play", write_file(world, "kmsg a\n")}), 2) << "where to?";
}

TEST(Play, AStepThatFailsIsNamedAndEndsIt) {
  World world({"--memory", "8GiB"});
  const std::string file =
      write_file(world, "fault lost-context --pid 4000000\nphantom --memory 1GiB\n");
  EXPECT_EQ(world.gpusim({"play", file}), 1);
  EXPECT_EQ(world.shown("memory_used_bytes"), 0U);
}

TEST(KernelLog, RecordsAreThoseOfDevKmsg) {
  EXPECT_EQ(tool::kmsg_record(7, 1500, "a\\b\nc\x7f"), "4,7,1500,-;a\\x5cb\\x0ac\\x7f\n");
  EXPECT_EQ(tool::xid_text({.pci_bus = 0x61,
                            .xid = 45,
                            .pid = 1234,
                            .process = "py",
                            .instance = 5,
                            .tail = "Ch 0000000a"}),
            "NVRM: Xid (PCI:0000:61:00 GPU-I:05): 45, pid=1234, name=py, Ch 0000000a");
  EXPECT_EQ(tool::xid_text({.pci_bus = 0x61,
                            .xid = 79,
                            .pid = 0,
                            .process = {},
                            .instance = std::nullopt,
                            .tail = {}}),
            "NVRM: Xid (PCI:0000:61:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off "
            "the bus.");
  const std::string fallen = tool::kmsg_record(0, 0, tool::fallen_off_text(0xb3));
  EXPECT_EQ(fallen,
            "4,0,0,-;NVRM: The NVIDIA GPU 0000:b3:00.0\\x0aNVRM: (PCI ID: 10de:2335) installed in "
            "this system has\\x0aNVRM: fallen off the bus and is not responding to commands.\n");
}

}  // namespace
}  // namespace gpuward::gpusim::test
