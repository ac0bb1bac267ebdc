#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "domain/door.h"
#include "os/fd.h"

namespace gpuward::gateway {

/// Why @p door cannot be opened: numbers that name nothing, an address that is none. Whatever comes
/// over a socket or from a file is asked for this first.
std::optional<std::string> problem_of(const Door& door);

/// All doors in @p file, which holds one DoorPlan frame after the other, from its start.
/// Errors: as read(2); Errc::bad_message for a frame that is none, or one that ends early.
Result<std::vector<Door>> read_plan(const os::Fd& file);

}  // namespace gpuward::gateway
