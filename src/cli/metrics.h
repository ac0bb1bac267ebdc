#pragma once

#include <string>

namespace gpuward::cli {

/// Prints the metrics once (docs/metrics.md); with @p listen, "127.0.0.1:9477" or "unix:PATH",
/// serves them as GET /metrics until it is ended. Only this machine is listened to.
/// @return 0; 1 where it cannot be listened there, or must not.
int metrics(const std::string& listen);

}  // namespace gpuward::cli
