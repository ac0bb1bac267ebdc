#pragma once

#include <cstdint>
#include <optional>

#include "model/session.h"

namespace gpuward::gpusim {

/// What the faults in force make of a call of @p function: hangs here as long as a hang fault
/// lasts, else the code to return, or nothing. Costs one load while no fault is set.
/// @param device  index, or -1 when the call is about none.
std::optional<int> apply_faults(Session& session, const char* function, int device);

/// Does a fault in force turn a bit over in what a call of @p function brings? @p device: as above.
bool corrupts(Session& session, const char* function, int device);

/// Waits here while the simulated host is lost (see "kill after restore" in docs/gpusim.md).
void wait_while_host_lost(Session& session);

}  // namespace gpuward::gpusim
