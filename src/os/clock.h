#pragma once

#include <array>
#include <string_view>

#include "base/error.h"
#include "base/units.h"

namespace gpuward::os {

inline Instant now() {
  return std::chrono::steady_clock::now();
}
inline WallTime wall_now() {
  return std::chrono::system_clock::now();
}

/// Civil time as it stands in records: milliseconds since 1970 (UTC).
inline std::int64_t unix_ms_now() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(wall_now().time_since_epoch())
      .count();
}

/// The kernel's random id of this boot (/proc/sys/kernel/random/boot_id): 36 characters. Pids and
/// start times mean nothing across boots.
using BootId = Text<40>;
Result<BootId> boot_id();

/// Milliseconds for poll(2) until @p deadline, rounded up so that poll never wakes early; 0 if
/// past, -1 (for ever) if there is none.
int poll_timeout(Instant deadline);
constexpr Instant kNever = Instant::max();

}  // namespace gpuward::os
