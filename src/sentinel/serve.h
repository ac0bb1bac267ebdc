#pragma once

#include "base/error.h"
#include "os/fd.h"
#include "sentinel/looker.h"
#include "sentinel/pace.h"

namespace gpuward::sentinel {

/// How often the cards are looked at unasked.
inline constexpr auto kPeriod = Pace::kPeriod;

/// How long the peer may take nothing.
inline constexpr std::chrono::seconds kPeerPatience{2};

/// Sends a SnapshotNews frame now, each kPeriod, after every byte that arrives ("look now"; the
/// look begins after the byte), and when the driver tells of an event. While a call hangs, a hung
/// snapshot goes out at its deadline, then each kPeriod, and at once when asked. Returns at end of
/// file.
/// @param options  the looker's
/// @param peer     a connected stream socket
/// Errors: Errc::timed_out when the peer takes nothing for kPeerPatience; as send(2) and recv(2).
Result<void> serve(Looker& looker, gpu::NvmlOptions options, const os::Fd& peer);

}  // namespace gpuward::sentinel
