#include "cli/memory_by_looks.h"

#include <poll.h>

#include "control/gpu_look.h"
#include "control/messages.h"
#include "control/observe.h"
#include "os/clock.h"

namespace gpuward::cli {
namespace {

constexpr auto kLookWithin = std::chrono::seconds(3);
constexpr int kPauseMs = 50;

}  // namespace

MemoryByLooks::MemoryByLooks(const control::AnchorFolder& folder, const AnchorState& state) {
  const auto snapshot = control::look_at_gpus(os::now() + kLookWithin);
  sees_ = snapshot.sight == GpuSight::visible;
  witness_.see(snapshot, control::tree_pids(folder, state));
}

void MemoryByLooks::answer_if_asked(control::Channel& channel, const AnchorState& state) {
  if (!state.wants_memory_proof) return;
  for (const auto& process : state.receipt.released.list)
    witness_.forget(static_cast<std::uint32_t>(process.id.pid.number));
  const Instant give_up = os::now() + kMemoryWithin;
  AnchorRequest answer;
  answer.what = AnchorRequest::What::memory_answer;
  answer.generation = state.receipt.generation;
  for (;;) {
    const auto judged = witness_.judge(control::look_at_gpus(os::now() + kLookWithin));
    answer.proof = judged.proof;
    answer.bytes = judged.returned;
    if (judged.proof != MemoryProof::held || os::now() >= give_up) break;
    (void)::poll(nullptr, 0, kPauseMs);  // the driver tells nobody when memory comes back
  }
  (void)channel.send(answer, os::now() + kLookWithin);
}

}  // namespace gpuward::cli
