#pragma once

#include <set>
#include <string>

#include "base/units.h"
#include "domain/holder.h"

namespace gpuward::control {

/// Looks through /proc for those who may be behind memory that no row explains: they have a card
/// open and are in no row. Costs about 30 us for each open file of each process, so it is for
/// questions of people, and ends at @p deadline. @p rows: the pids of all rows.
PhantomFacts look_for_phantoms(const std::set<Pid>& rows, Instant deadline);

/// What the files of a card begin with: "/dev/nvidia", or GPUWARD_DEVICE_FILES where that is set
/// (the simulated card's state file).
std::string device_files();

}  // namespace gpuward::control
