#pragma once

#include "base/units.h"
#include "domain/gpu.h"

namespace gpuward::control {

/// One look at the cards through `gpuward-sentinel --wire --once`, beside this program: whoever
/// calls never touches the driver itself. Always an answer: a sentinel that is missing, cannot be
/// loaded here, or does not come back by @p deadline is a sight of its own, with the reason in
/// `detail`.
GpuSnapshot look_at_gpus(Instant deadline);

}  // namespace gpuward::control
