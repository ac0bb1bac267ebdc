#pragma once

namespace gpuward::cli {

/// Everything about this machine, its driver and gpuward itself that costs the user something, with
/// its mend. Sets nothing. Needs no warden, no root, no GPU; takes a few seconds at most.
/// @return 0: all is well, or cannot be seen; 1: WARN; 2: FAIL.
int doctor(bool json);

}  // namespace gpuward::cli
