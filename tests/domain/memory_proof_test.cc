#include "domain/memory_proof.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

constexpr Bytes kGib{1ULL << 30};

GpuProcess row(std::uint32_t pid, Bytes memory, bool lives = true) {
  GpuProcess process;
  process.pid = pid;
  process.memory = memory;
  process.start_ticks = lives ? 1000 + pid : 0;
  return process;
}

GpuDevice card(const char* uuid, std::vector<GpuProcess> rows, Bytes unexplained = {}) {
  GpuDevice device;
  device.uuid = uuid;
  device.processes = std::move(rows);
  device.processes_visible = true;
  device.memory_used = unexplained;
  for (const auto& process : device.processes) device.memory_used += *process.memory;
  return device;
}

GpuSnapshot look(std::vector<GpuDevice> devices) {
  GpuSnapshot snapshot;
  snapshot.sight = GpuSight::visible;
  snapshot.pids_are_ours = true;
  snapshot.devices = std::move(devices);
  return snapshot;
}

TEST(MemoryWitness, WhatItHeldHasReturned) {
  MemoryWitness witness;
  witness.see(look({card("A", {row(7, kGib), row(9, kGib)})}), {7});
  const auto answer = witness.judge(look({card("A", {row(9, kGib)})}));
  EXPECT_EQ(answer.proof, MemoryProof::returned);
  EXPECT_EQ(answer.returned, kGib);
}

TEST(MemoryWitness, WhatWasHandedOverIsNotWaitedForNorCountedAsReturned) {
  MemoryWitness witness;
  witness.see(look({card("A", {row(7, kGib), row(8, kGib)})}), {7, 8});
  const auto after = look({card("A", {row(8, kGib)})});
  EXPECT_EQ(witness.judge(after).proof, MemoryProof::held);
  witness.forget(8);
  witness.forget(8);
  EXPECT_EQ(witness.judge(after).proof, MemoryProof::returned);
  EXPECT_EQ(witness.judge(after).returned, kGib);
}

TEST(MemoryWitness, ARowOfItsOwnIsHeld) {
  MemoryWitness witness;
  witness.see(look({card("A", {row(7, kGib)})}), {7});
  EXPECT_EQ(witness.judge(look({card("A", {row(7, kGib, false)})})).proof, MemoryProof::held);
}

TEST(MemoryWitness, BytesThatNoRowExplainsAreComparedCardByCard) {
  MemoryWitness witness;
  witness.see(look({card("A", {row(7, kGib)}), card("B", {row(9, kGib)}, kGib)}), {7});
  // What card B lost meanwhile does not pay for what is missing on card A.
  const auto leak = look({card("A", {}, kGib), card("B", {row(9, kGib)})});
  EXPECT_EQ(witness.judge(leak).proof, MemoryProof::held);
  // And what grows on a card that it never held memory of is not its own.
  const auto stranger = look({card("A", {}), card("B", {row(9, kGib)}, kGib + kGib)});
  EXPECT_EQ(witness.judge(stranger).proof, MemoryProof::returned);
}

TEST(MemoryWitness, ACardThatHangsHidesOnlyWhatWasOnIt) {
  const auto hangs = [](const char* uuid, std::vector<GpuProcess> rows) {
    GpuDevice device = card(uuid, std::move(rows));
    device.state = GpuState::suspect;
    device.processes_visible = false;
    return device;
  };
  MemoryWitness elsewhere;
  elsewhere.see(look({card("A", {row(7, kGib)}), card("B", {row(9, kGib)})}), {7});
  EXPECT_EQ(elsewhere.judge(look({card("A", {}), hangs("B", {row(9, kGib)})})).proof,
            MemoryProof::returned);
  EXPECT_EQ(elsewhere.judge(look({hangs("A", {}), card("B", {row(9, kGib)})})).proof,
            MemoryProof::not_visible);
  auto unreadable = hangs("B", {});
  unreadable.state = GpuState::unreadable;
  EXPECT_EQ(elsewhere.judge(look({card("A", {}), unreadable})).proof, MemoryProof::not_visible);
  // What it holds elsewhere is still seen while one card hangs.
  elsewhere.see(look({card("A", {row(7, kGib + kGib)}), hangs("B", {row(9, kGib)})}), {7});
  EXPECT_EQ(elsewhere.held(), kGib + kGib);
}

TEST(MemoryWitness, WhoNeverHeldAnyOwesNone) {
  MemoryWitness witness;
  witness.see(look({card("A", {row(9, kGib)})}), {7});
  EXPECT_EQ(witness.judge(look({card("A", {row(9, kGib)})})).proof, MemoryProof::none);
}

TEST(MemoryWitness, ARowOfAProcessThatNoLookSawIsWaitedFor) {
  MemoryWitness witness;
  witness.see(look({card("A", {row(5, kGib, false)})}), {7});
  const auto unseen = look({card("A", {row(5, kGib, false), row(8, kGib, false)})});
  EXPECT_EQ(witness.judge(unseen).proof, MemoryProof::held);
  // What was dead before is somebody else's, for however long.
  EXPECT_EQ(witness.judge(look({card("A", {row(5, kGib, false)})})).proof, MemoryProof::none);
}

TEST(MemoryWitness, WithoutSightThereIsNoProof) {
  MemoryWitness blind;
  EXPECT_EQ(blind.judge(look({})).proof, MemoryProof::not_visible);
  MemoryWitness witness;
  witness.see(look({card("A", {row(7, kGib)})}), {7});
  GpuSnapshot foreign = look({card("A", {})});
  foreign.pids_are_ours = false;
  EXPECT_EQ(witness.judge(foreign).proof, MemoryProof::not_visible);
}

}  // namespace
}  // namespace gpuward
