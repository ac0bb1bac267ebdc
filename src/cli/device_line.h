#pragma once

#include <string>

#include "domain/gpu.h"

namespace gpuward::cli {

/// One line on a card for people: what it is, how full and busy, and where it is not well what is
/// wrong and how old the numbers are.
std::string device_line(const GpuDevice& device);

/// Prints why nothing on the cards may be restarted; nothing when it may.
void print_blocked(const GpuSnapshot& snapshot);

}  // namespace gpuward::cli
