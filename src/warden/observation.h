#pragma once

#include <cstdint>
#include <vector>

#include "domain/service_facts.h"
#include "warden/fleet.h"

// What /proc and the log's size tell of one tree, for its verdict.

namespace gpuward::warden {

/// The totals of the tree of @p member. CPU time is absent where it cannot be read, and where one
/// of its processes waits for storage or a driver (state D): that it burns none says nothing then.
/// Costs some 50 us a process: meant for trees that something speaks against.
ProgressFacts progress_of(const Fleet::Member& member);

/// The ports that its clients connect to, as far as they are known: {port}, and those of `ready`
/// and `live`. Empty: nobody knows.
std::vector<std::uint16_t> ports_of(const Fleet::Member& member);

}  // namespace gpuward::warden
