#pragma once

#include <cstdint>

#include "base/error.h"
#include "control/messages.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// What an anchor means to do and what it has done, appended to "journal" in its folder, whether a
/// warden runs or not; the warden takes it over into the ledger with the original times. Beyond
/// 256 KiB the file is kept as "journal.old", one generation. Each entry is in the kernel's hands
/// when append() returns, so it survives a kill -9, not a power loss, which ends the tree as well.
/// Allocates nothing.
class Journal {
 public:
  Journal() = default;
  Journal(ProcessId anchor, const Text<40>& boot_id) : anchor_(anchor), boot_id_(boot_id) {}

  /// Fills in the time, the number and whose entry it is. A number that could not be written is
  /// used up: the gap shows. Errors: as open(2) and write(2).
  Result<void> append(const os::Fd& dir, JournalEntry& entry);

 private:
  ProcessId anchor_;
  Text<40> boot_id_;
  std::uint64_t number_ = 0;
};

}  // namespace gpuward::anchor
