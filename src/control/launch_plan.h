#pragma once

#include <string>
#include <vector>

#include "control/anchors.h"
#include "domain/anchor_state.h"
#include "domain/service.h"

// From what is written about a service to what its anchor is told. For gpuward and gpuwardd alike.

namespace gpuward::control {

/// What a plan is made of beside the service itself.
struct LaunchContext {
  std::vector<EnvVar> environment;  ///< what the service inherits
  std::string directory;            ///< where to start if the service names no folder
};
/// The environment of this process.
std::vector<EnvVar> own_environment();

/// Turns a service into a plan: picks a port where {port} is wanted, applies the venv, makes paths
/// absolute, and proves that the ports of `ready` are free.
/// Errors: EADDRINUSE naming the holder: "port 7860 is taken by pid 4711 (python app.py)";
/// Errc::refused when command and environment are too large for a record.
Result<LaunchPlan> make_plan(const ServiceModel& service, std::uint32_t replica, const Home& home,
                             const LaunchContext& context);

}  // namespace gpuward::control
