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

/// Forks a reader that goes on with @p pump. The FIFOs lose their names in @p dir: a later anchor
/// makes its own. Errors: as open(2), fork(2); then nothing has changed.
Result<void> leave_reader(LogPump& pump, const os::Fd& dir);

}  // namespace gpuward::anchor
