#pragma once

#include "cli/service_commands.h"
#include "control/home.h"

namespace gpuward::cli {

/// Ends what holds the fixed ports of these services and was not started by gpuward: shown first,
/// then asked for on a terminal, or ordered by `yes`. With `json` prints one object.
/// @return 0: the ports are free now, proven; 1: refused; 4: not proven; 5: there is no warden that
/// could start anything afterwards.
int take_over(const control::Home& home, const ServiceOptions& options);

}  // namespace gpuward::cli
