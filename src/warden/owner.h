#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/pid.h"
#include "base/units.h"
#include "warden/fleet.h"

namespace gpuward::warden {

/// Whose tree a process is in, or was in.
struct TreeOwner {
  std::string service;
  std::uint32_t replica = 0;
  std::uint32_t generation = 0;
};

/// The member of @p members whose tree holds @p pid, a number in our PID namespace. Asks the kernel
/// about this one process, and walks only the trees that it points to: meant for hundreds of
/// questions a second. A process that has ended is known by what was seen of it on the cards.
std::optional<TreeOwner> owner_of(const std::map<std::string, Fleet::Member>& members, Pid pid);

/// When the tree of @p member was last ended, by whomever: what the driver says of its processes
/// about then is the echo of that. Absent: it was not, or nobody knows when.
std::optional<Instant> tree_ended(const Fleet::Member& member, Instant now);

}  // namespace gpuward::warden
