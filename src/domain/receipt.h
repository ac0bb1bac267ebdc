#pragma once

#include <string>

#include "domain/anchor_state.h"

// A receipt in words, for people and for the ledger.

namespace gpuward {

/// "ended 6 processes in 12 ms, none left; it held no GPU memory; port 7860 free".
/// @p looked  was anybody there who could see the GPU.
std::string describe(const Receipt& receipt, bool looked = true);

/// "pid 4711 (python), state D, waits in nvidia_ioctl, KILL was sent 5.0 s ago".
std::string describe(const Survivor& survivor);
/// All of them; empty when there is none.
std::string describe_survivors(const Receipt& receipt);

}  // namespace gpuward
