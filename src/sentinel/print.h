#pragma once

#include <string>

#include "domain/gpu.h"

namespace gpuward::sentinel {

/// For people: one line per card, one per process below it, or the sentence that says why there is
/// none.
std::string table_of(const GpuSnapshot& snapshot);

/// For programs: one line of JSON with a line feed. What is not known is null. Times are
/// nanoseconds of CLOCK_MONOTONIC. "sentence" is empty when the cards are visible.
std::string json_of(const GpuSnapshot& snapshot);

}  // namespace gpuward::sentinel
