#pragma once

#include "base/error.h"
#include "os/fd.h"
#include "sentinel/looker.h"

namespace gpuward::sentinel {

/// How often the cards are looked at unasked.
inline constexpr std::chrono::milliseconds kPeriod{1000};

/// Sends a SnapshotNews frame now, each kPeriod, and after every byte that arrives ("look now"; the
/// look begins after the byte). While a look hangs, a hung snapshot goes out at its deadline, then
/// each kPeriod, and at once when asked. Returns at end of file.
/// @param peer  a connected stream socket
/// Errors: Errc::timed_out when the peer takes nothing for kLookDeadline; as send(2) and recv(2).
Result<void> serve(Looker& looker, const os::Fd& peer);

}  // namespace gpuward::sentinel
