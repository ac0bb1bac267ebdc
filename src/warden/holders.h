#pragma once

#include "control/holders.h"
#include "warden/clerk.h"
#include "warden/fleet.h"

namespace gpuward::warden {

/// Who holds the cards: watched at each look, told to whoever asks. Writes each ORPHAN and each
/// IDLE_HOLDER into the ledger once, and ends nobody. Loop thread only.
class Holders {
 public:
  Holders(const Fleet& fleet, Clerk& clerk) : fleet_(fleet), clerk_(clerk) {}

  /// After Fleet::set_gpu().
  void see(Instant now);
  /// Fills StatusReport::gpu, ::holders and ::card_sums.
  void report(StatusReport* into, Instant now);

 private:
  const Fleet& fleet_;
  Clerk& clerk_;
  control::KnownTrees trees_;
  control::HolderSurvey survey_;
};

}  // namespace gpuward::warden
