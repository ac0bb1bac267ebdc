#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "domain/anchor_state.h"
#include "domain/gpu.h"

namespace gpuward {

/// What a tree held on the cards, so that its return can be proven: "memory is back" = on each card
/// that it held memory of, no row of any pid seen in the tree, and bytes that no row explains not
/// above those before the stop (+ kUnexplainedSlack). Pure; feed it every snapshot while the tree
/// lives, then ask.
class MemoryWitness {
 public:
  static constexpr Bytes kUnexplainedSlack{16ULL << 20};

  /// @p pids  of the tree now. Remembers them and what they hold.
  void see(const GpuSnapshot& snapshot, const std::set<std::uint32_t>& pids);

  /// @p pid was handed over on purpose: it lives on, and what it holds is not waited for.
  void forget(std::uint32_t pid);

  struct Answer {
    MemoryProof proof = MemoryProof::not_visible;
    Bytes returned;
  };
  /// Judges a snapshot taken after the tree was proven empty. `held` means: not back yet. A row of
  /// a process that has ended since the last look may be of one that no look has seen: it is waited
  /// for too.
  Answer judge(const GpuSnapshot& after) const;
  Bytes held() const { return held_; }
  /// Was @p pid ever seen in the tree? It may have ended since.
  bool has_seen(std::uint32_t pid) const { return pids_.contains(pid); }

 private:
  std::set<std::uint32_t> pids_;
  std::set<std::uint32_t> dead_;  // pids of rows whose process had ended already at the last look
  Bytes held_;                    // at the last look
  std::map<std::uint32_t, Bytes> held_by_;            // likewise, by pid
  std::map<std::string, std::uint64_t> unexplained_;  // bytes by card that it ever held memory of
  bool blind_ = true;
};

/// Bytes in use on @p device that no row explains.
std::uint64_t unexplained_bytes(const GpuDevice& device);
/// Can its rows explain what is in use: is every one listed, with its memory? Without rights on a
/// MIG instance, under WSL and in another PID namespace they cannot.
bool rows_explain(const GpuDevice& device, bool pids_are_ours);

}  // namespace gpuward
