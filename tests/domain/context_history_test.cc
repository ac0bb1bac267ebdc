#include "domain/context_history.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

GpuProcess row(std::uint32_t pid, Bytes memory, std::optional<std::uint32_t> percent = 0) {
  GpuProcess process;
  process.pairing = Pairing::paired;
  process.pid = pid;
  process.start_ticks = 1000 + pid;
  process.memory = memory;
  if (percent) process.sm_percent = *percent;
  return process;
}

ProcessId id_of(std::uint32_t pid) {
  return {Pid{static_cast<pid_t>(pid)}, 1000 + pid};
}

GpuDevice card(const char* uuid, std::vector<GpuProcess> rows, Bytes unexplained = {}) {
  GpuDevice device;
  device.uuid = uuid;
  device.name = "Simulated A100";
  device.processes = std::move(rows);
  device.processes_visible = true;
  device.busy_percent = 0;
  device.memory_used = unexplained;
  for (const auto& process : device.processes) device.memory_used += *process.memory;
  return device;
}

GpuSnapshot look(std::vector<GpuDevice> devices, std::int64_t second) {
  GpuSnapshot snapshot;
  snapshot.sight = GpuSight::visible;
  snapshot.pids_are_ours = true;
  snapshot.taken_ns = second * 1'000'000'000;
  snapshot.devices = std::move(devices);
  return snapshot;
}

Instant at(std::int64_t second) {
  return Instant(seconds(second));
}

TEST(ContextHistory, TellsWhoHasOneAndSinceWhen) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB, 20), row(9, 2_GiB)})}, 1), {7, 8}, {});
  history.see(look({card("A", {row(7, 1_GiB, 20), row(8, 2_GiB, 5)})}, 2), {7, 8}, {});
  const auto& facts = history.facts();
  EXPECT_EQ(facts.listed, 2U);
  EXPECT_EQ(facts.memory, 3_GiB);
  EXPECT_EQ(facts.last_listed, at(2));
  EXPECT_EQ(facts.newest_listed, at(2));
  EXPECT_EQ(history.gpu_percent(), 25U);
  EXPECT_EQ(history.last_busy(Pid{7}), at(2));
  EXPECT_EQ(history.last_busy(Pid{9}), std::nullopt);  // a stranger
}

TEST(ContextHistory, WhoLostItsContextAndLivesIsToldFromWhoEnded) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB), row(8, 1_GiB)})}, 1), {7, 8}, {});
  history.see(look({card("A", {})}, 2), {7}, {});
  EXPECT_EQ(history.holders().size(), 2U);
  history.see(look({card("A", {})}, 3), {7}, {id_of(8)});
  EXPECT_EQ(history.facts().lost_alive, 1U);
  EXPECT_TRUE(history.facts().ever);
  EXPECT_EQ(history.facts().last_listed, at(1));
  EXPECT_EQ(history.holders(), std::vector{id_of(7)});
}

TEST(ContextHistory, NamesWhoHasLostItsContext) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB), row(8, 1_GiB)})}, 1), {7, 8}, {});
  EXPECT_FALSE(history.has_lost(Pid{8}));
  history.see(look({card("A", {row(7, 1_GiB)})}, 2), {7, 8}, {});
  EXPECT_TRUE(history.has_lost(Pid{8}));
  EXPECT_FALSE(history.has_lost(Pid{7}));
}

TEST(ContextHistory, KnowsSinceWhenItLooks) {
  ContextHistory history;
  EXPECT_EQ(history.first_look(), std::nullopt);
  history.see(look({card("A", {})}, 4), {7}, {});
  history.see(look({card("A", {})}, 5), {7}, {});
  EXPECT_EQ(history.first_look(), at(4));
}

// Listed at one look, dead before the next: at none has it lost its context alive.
TEST(ContextHistory, OneThatHasJustEndedHasLostNothing) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB), row(8, 1_GiB)})}, 1), {7, 8}, {});
  EXPECT_EQ(history.holders().size(), 2U);
  history.see(look({card("A", {row(7, 1_GiB)})}, 2), {7}, {id_of(8)});
  EXPECT_EQ(history.facts().lost_alive, 0U);
  EXPECT_EQ(history.holders(), std::vector{id_of(7)});
}

TEST(ContextHistory, OneThatEndedAfterTheLookKeepsItsRowUntilTheNext) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB)})}, 1), {7}, {});
  history.see(look({card("A", {row(7, 1_GiB)})}, 2), {7}, {id_of(7)});
  EXPECT_EQ(history.facts().listed, 1U);
  EXPECT_EQ(history.facts().newest_listed, at(1));
  history.see(look({card("A", {})}, 3), {}, {id_of(7)});
  EXPECT_EQ(history.facts().lost_alive, 0U);
}

TEST(ContextHistory, AnotherProcessOfTheSameNumberIsAnotherHolder) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB)})}, 1), {7}, {});
  auto other = row(7, 1_GiB);
  other.start_ticks = 5;
  history.see(look({card("A", {other})}, 2), {7}, {});
  EXPECT_EQ(history.facts().lost_alive, 1U);
  history.see(look({card("A", {other})}, 3), {7}, {id_of(7)});
  EXPECT_EQ(history.facts().lost_alive, 0U);
  EXPECT_EQ(history.facts().listed, 1U);
}

TEST(ContextHistory, ARowWhoseProcessIsNotCertainYetIsListedAndNobodys) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB)})}, 1), {7, 8}, {});
  auto young = row(8, 1_GiB);
  young.start_ticks = 0;
  young.pairing = Pairing::young;
  history.see(look({card("A", {young})}, 2), {7, 8}, {});
  EXPECT_EQ(history.facts().listed, 1U);
  EXPECT_EQ(history.facts().newest_listed, at(2));
  EXPECT_EQ(history.holders(), std::vector{id_of(7)});
}

TEST(ContextHistory, ALookThatShowsNothingTakesNothingAway) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB)})}, 1), {7}, {});
  GpuSnapshot blind = look({}, 2);
  blind.sight = GpuSight::failed;
  auto hung = card("A", {});
  hung.state = GpuState::suspect;
  auto mute = card("A", {});
  mute.processes_visible = false;
  auto foreign = look({card("A", {})}, 2);
  foreign.pids_are_ours = false;
  std::string detail;
  for (const auto& snapshot : {blind, look({hung}, 2), look({mute}, 2), look({}, 2), foreign}) {
    EXPECT_NE(history.sight(snapshot, at(2), &detail), CardSight::visible);
    history.see(snapshot, {7}, {});
    EXPECT_EQ(history.facts().listed, 1U);
    EXPECT_EQ(history.gpu_percent(), std::nullopt);
  }
}

TEST(ContextHistory, AnotherCardInTroubleIsNotItsOwn) {
  ContextHistory history;
  auto other = card("B", {});
  other.state = GpuState::lost;
  const auto snapshot = look({card("A", {row(7, 1_GiB)}), other}, 1);
  std::string detail;
  EXPECT_EQ(history.sight(snapshot, at(1), &detail), CardSight::lost);  // it may use either
  history.see(look({card("A", {row(7, 1_GiB)}), card("B", {})}, 1), {7}, {});
  EXPECT_EQ(history.sight(snapshot, at(1), &detail), CardSight::visible);
  auto its_own = card("A", {});
  its_own.state = GpuState::lost;
  EXPECT_EQ(history.sight(look({its_own}, 2), at(2), &detail), CardSight::lost);
  EXPECT_EQ(detail, "GPU 0 (Simulated A100) is lost");
}

TEST(ContextHistory, ALookFromLongAgoShowsNothingOfNow) {
  const ContextHistory history;
  std::string detail;
  const auto snapshot = look({card("A", {})}, 10);
  EXPECT_EQ(history.sight(snapshot, at(13), &detail), CardSight::visible);
  EXPECT_EQ(history.sight(snapshot, at(14), &detail), CardSight::unknown);
}

TEST(ContextHistory, OnlyAKernelModuleThatIsNotThereMeansNoGpu) {
  const ContextHistory history;
  std::string detail;
  GpuSnapshot snapshot;
  const std::pair<GpuSight, CardSight> rows[] = {
      {GpuSight::no_driver, CardSight::no_gpu},     {GpuSight::no_gpu, CardSight::no_gpu},
      {GpuSight::no_library, CardSight::unknown},   {GpuSight::unknown, CardSight::unknown},
      {GpuSight::failed, CardSight::unknown},       {GpuSight::hung, CardSight::hung},
      {GpuSight::cut_off, CardSight::cut_off},      {GpuSight::mismatch, CardSight::mismatch},
      {GpuSight::no_permission, CardSight::hidden},
  };
  for (const auto& [sight, seen] : rows) {
    snapshot.sight = sight;
    EXPECT_EQ(history.sight(snapshot, at(1), &detail), seen);
  }
}

TEST(ContextHistory, UnderMpsRowsMayBeHidden) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 1_GiB)})}, 1), {7}, {});
  EXPECT_FALSE(history.facts().may_be_hidden);
  auto server = row(50, 1_GiB);
  server.kind = 2;
  history.see(look({card("A", {server})}, 2), {7}, {});
  EXPECT_TRUE(history.facts().may_be_hidden);
}

TEST(ContextHistory, MemoryThatStaysWithoutARowMakesTheListDoubtful) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 4_GiB)}, 1_GiB)}, 1), {7}, {});
  history.see(look({card("A", {}, 1_GiB)}, 2), {7}, {});
  EXPECT_FALSE(history.facts().use_unexplained);
  history.see(look({card("A", {}, 5_GiB)}, 3), {7}, {});
  EXPECT_TRUE(history.facts().use_unexplained);
}

TEST(ContextHistory, ACardThatWorksForNobodyIsSo) {
  ContextHistory history;
  history.see(look({card("A", {row(7, 4_GiB)})}, 1), {7}, {});
  auto busy = card("A", {row(7, 4_GiB), row(9, 1_GiB)});
  busy.busy_percent = 80;
  history.see(look({busy}, 2), {7}, {});
  EXPECT_TRUE(history.facts().use_unexplained);
  busy.processes[1].sm_percent = 80;
  history.see(look({busy}, 3), {7}, {});
  EXPECT_FALSE(history.facts().use_unexplained);
  EXPECT_EQ(history.gpu_percent(), 0U);
}

TEST(ContextHistory, TimeThatTheDriverDoesNotTellIsNoneOnlyOnAnIdleCard) {
  ContextHistory history;
  auto device = card("A", {row(7, 4_GiB, std::nullopt)});
  history.see(look({device}, 1), {7}, {});
  EXPECT_EQ(history.gpu_percent(), 0U);
  device.busy_percent = 3;
  history.see(look({device}, 2), {7}, {});
  EXPECT_EQ(history.gpu_percent(), std::nullopt);
  EXPECT_EQ(history.last_busy(Pid{7}), at(2));
}

TEST(ContextHistory, OfVeryManyTheOnesWithoutAreForgotten) {
  ContextHistory history;
  std::set<std::uint32_t> pids;
  for (std::uint32_t pid = 1; pid <= 2 * ContextHistory::kMostHolders; ++pid) {
    pids.insert(pid);
    history.see(look({card("A", {row(pid, 1_MiB)})}, pid), pids, {});
  }
  EXPECT_LE(history.facts().lost_alive, ContextHistory::kMostHolders);
  EXPECT_EQ(history.facts().listed, 1U);
}

}  // namespace
}  // namespace gpuward
