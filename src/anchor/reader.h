#pragma once

#include <span>

#include "anchor/log_pump.h"
#include "base/error.h"
#include "os/fd.h"

// What an anchor leaves behind when it goes and processes of its service live on, because they were
// handed over: somebody has to read what they print, or they wait for ever once 1 MiB of it lies
// there. A process that carries their output into the log and ends with the last of its writers; it
// leads nothing, holds no lock and wakes only when they print.

namespace gpuward::anchor {

/// The words of our command line, so that a reader is not taken for an anchor by those who look.
void keep_title(std::span<char> words);

/// Forks a reader that goes on with @p pump once this anchor is gone and its record in @p dir says
/// that its tree is over: so it is made before that is written, and no crash leaves the writers
/// alone. After any other end of the anchor it goes: then whoever adopts the tree reads. @return
/// what the anchor holds open for as long as it lives. Errors: as open(2), pipe(2), fork(2).
Result<os::Fd> leave_reader(LogPump& pump, const os::Fd& dir);

/// Takes their names from the FIFOs in @p dir, so that a later anchor makes its own.
void unlink_fifos(const os::Fd& dir);

}  // namespace gpuward::anchor
