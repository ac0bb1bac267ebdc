#pragma once

#include <cstdint>
#include <set>

#include "domain/anchor_state.h"
#include "domain/gpu.h"

namespace gpuward {

/// What a tree held on the cards, so that its return can be proven: "memory is back" = on each card
/// no row of any pid seen in the tree, and bytes that no row explains not above those before the
/// stop
/// (+ kUnexplainedSlack). Pure; feed it every snapshot while the tree lives, then ask.
class MemoryWitness {
 public:
  static constexpr Bytes kUnexplainedSlack{16ULL << 20};

  /// @p pids  of the tree now. Remembers them and what they hold.
  void see(const GpuSnapshot& snapshot, const std::set<std::uint32_t>& pids);

  struct Answer {
    MemoryProof proof = MemoryProof::not_visible;
    Bytes returned;
  };
  /// Judges a snapshot taken after the tree was proven empty. `held` means: not back yet.
  Answer judge(const GpuSnapshot& after) const;
  Bytes held() const { return held_; }

 private:
  std::set<std::uint32_t> pids_;
  Bytes held_;                     // at the last look
  std::uint64_t unexplained_ = 0;  // bytes over all cards, at the last look
  bool ever_held_ = false;
  bool blind_ = true;
};

/// Bytes in use that no row explains, over all cards.
std::uint64_t unexplained_bytes(const GpuSnapshot& snapshot);

}  // namespace gpuward
