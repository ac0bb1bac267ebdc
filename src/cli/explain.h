#pragma once

#include <string>

namespace gpuward::cli {

/// Everything that gpuward does to a service from outside, why, and how to have it otherwise; from
/// what its anchor was started with. Values of the environment are never shown. 0; 1 when it has
/// never run here.
int explain(const std::string& service, bool json);

}  // namespace gpuward::cli
