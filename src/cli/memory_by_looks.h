#pragma once

#include "control/anchors.h"
#include "domain/anchor_state.h"
#include "domain/memory_proof.h"

namespace gpuward::cli {

/// The proof of GPU memory where no warden runs: a look at the cards before the ladder, and looks
/// after it until the memory is back or 10 s have passed.
class MemoryByLooks {
 public:
  /// Takes the look before; the tree of @p state must still live.
  MemoryByLooks(const control::AnchorFolder& folder, const AnchorState& state);
  /// May this be promised to the anchor (sees_gpu)?
  bool sees() const { return sees_; }
  /// Answers the anchor when @p state asks for the proof.
  void answer_if_asked(control::Channel& channel, const AnchorState& state);

 private:
  MemoryWitness witness_;
  bool sees_ = false;
};

}  // namespace gpuward::cli
