#pragma once

#include <cstddef>
#include <vector>

#include "base/error.h"
#include "domain/gpu.h"

namespace gpuward::sentinel {

/// The snapshot as one whole SnapshotNews frame (control/wire.h). Usually below wire::kMaxSmall;
/// many cards with hundreds of processes may need up to wire::kMaxLarge, beyond which it is an
/// error.
Result<std::vector<std::byte>> frame_of(const GpuSnapshot& snapshot);

}  // namespace gpuward::sentinel
