#pragma once

#include <string>

namespace gpuward::cli {

/// `gpuward release`: gives a running service up without touching any of its processes, and prints
/// which. Speaks to its anchor, so it needs no warden. @return an exit code of the CLI.
int release(const std::string& service, bool json);

}  // namespace gpuward::cli
