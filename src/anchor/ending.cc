// How a tree ends: noted before, proven after, told in a receipt.

#include <unistd.h>

#include <algorithm>

#include "anchor/anchor.h"
#include "anchor/reader.h"
#include "os/clock.h"
#include "os/listeners.h"

namespace gpuward::anchor {
namespace {

constexpr auto kMemoryWithoutWarden = std::chrono::seconds(2);
constexpr std::uint32_t kAskForSockets = 64;  // processes whose ports a receipt looks for

// Each port the tree listened on must be free now; what is not is somebody else's, or a survivor's.
void check_ports(Receipt& receipt) {
  receipt.ports_held.clear();
  (void)os::for_each_listener([&](const os::Listener& listener) {
    const auto& freed = receipt.ports_freed;
    const bool asked = std::find(freed.begin(), freed.end(), listener.port) != freed.end();
    const bool known = std::find(receipt.ports_held.begin(), receipt.ports_held.end(),
                                 listener.port) != receipt.ports_held.end();
    if (asked && !known) receipt.ports_held.push_back(listener.port);
  });
  InlineVec<std::uint16_t, 32> free;
  for (const auto port : receipt.ports_freed)
    if (std::find(receipt.ports_held.begin(), receipt.ports_held.end(), port) ==
        receipt.ports_held.end())
      free.push_back(port);
  receipt.ports_freed = free;
}

}  // namespace

void Anchor::note_tree() {
  ending_began_ = os::now();
  (void)tree_.find_marked();
  // What a dead anchor handed over at this very end stays in its receipt.
  const bool goes_on = state_.receipt.generation == life_.generation;
  const HandOver before = goes_on ? state_.receipt.released : HandOver{};
  state_.receipt = Receipt{};
  state_.receipt.released = before;
  state_.receipt.generation = life_.generation;
  hand_over();
  state_.receipt.only_seen = state_.doubt;
  tree_.note(&state_.receipt.processes_ended, &state_.receipt.ports_freed, kAskForSockets);
  state_.receipt.ports_unknown = state_.receipt.ports_freed.dropped() != 0;
  state_.receipt.processes_ended += container_.count_beside(tree_);
  if (!main_ && life_.last_exit)
    ++state_.receipt.processes_ended;  // it has ended by itself already
}

void Anchor::prove_memory() {
  state_.wants_memory_proof = clients_.someone_sees_gpu();
  memory_by_ = state_.wants_memory_proof ? os::kNever : os::now() + memory_patience();
}

// Without a witness the wait is short, and only where there was something to wait for.
Duration Anchor::memory_patience() const {
  const bool held = state_.gpu_seen && state_.gpu_held.count != 0;
  return held ? Duration(kMemoryWithoutWarden) : Duration::zero();
}

// Whoever sees the GPU is asked for the proof; a witness may come, or die, while it is awaited.
void Anchor::await_memory(Instant now) {
  if (!std::holds_alternative<life::Settling>(life_.state)) return;
  if (clients_.someone_sees_gpu() != state_.wants_memory_proof) {
    prove_memory();
    publish();
  }
  if (now < memory_by_) return;
  memory_by_ = os::kNever;
  happen(life::MemorySeen{MemoryProof::not_visible});
}

void Anchor::write_receipt() {
  Receipt& receipt = state_.receipt;
  receipt.duration =
      std::chrono::duration_cast<std::chrono::microseconds>(os::now() - ending_began_);
  receipt.at_unix_ms = os::unix_ms_now();
  state_.wants_memory_proof = false;
  memory_by_ = os::kNever;
  receipt.survivors.clear();
  if (state_.phase == Phase::unkillable) name_survivors();
  check_ports(receipt);
  receipt.container = state_.container.id;
  receipt.container_proof = container_.proof();
  if (state_.phase != Phase::unkillable) container_.forget();
  JournalEntry entry;
  entry.receipt = receipt;
  entry.reason = life_.reason;
  note_event(entry);
}

void Anchor::name_survivors() {
  named_ = os::now();
  state_.receipt.survivors.clear();
  tree_.name_survivors(&state_.receipt.survivors);
  container_.name_survivors(&state_.receipt.survivors);
  for (auto& survivor : state_.receipt.survivors)
    survivor.killed_for = std::chrono::duration_cast<std::chrono::milliseconds>(named_ - killed_);
}

// Before the record says that it is over: killed after that, nobody would take anything over here.
void Anchor::prepare_reader() {
  if (!given_up_ && !tree_.handed_over().any()) return;
  auto left = leave_reader(log_, dir_);
  if (left)
    reader_gate_ = std::move(*left);
  else
    note_failure("nobody reads what lives on and prints", left.error());
}

void Anchor::finish() {
  over_ = true;
  if (!given_up_) forget_main();
  log_.drain();
  log_.tell_loss();
  if (reader_gate_) unlink_fifos(dir_);
  if (given_up_) let_go();
  remove_temp_folder();
  limits_of_tree_.remove();
  tree_.remove();
  publish();
  ::unlinkat(dir_.get(), "control", 0);
}

}  // namespace gpuward::anchor
