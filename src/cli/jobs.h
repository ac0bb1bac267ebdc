#pragma once

#include <cstdint>
#include <string>

namespace gpuward::cli {

/// `gpuward jobs SVC`: who waits for it and who is in, in the order in which they go in. Asks the
/// gateway itself: no warden is needed.
/// @return 0; 1 for a service without a door; 5 when no gateway runs.
int jobs(const std::string& service, bool json);

/// `gpuward cancel JOB`: its client is told, its place is free.
/// @return 0; 1 when there is no such job; 5 when no gateway runs.
int cancel(std::uint64_t job);

}  // namespace gpuward::cli
