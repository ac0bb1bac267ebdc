#pragma once

#include <string>

#include "domain/anchor_state.h"

namespace gpuward::control {

/// Finds out how the container of @p plan's command can be held, and puts `--cidfile` right behind
/// `run` where the user has none. Call when command, environment, folder and rights are settled.
/// @p folder  the anchor's own, absolute: there the id is written.
void plan_container(LaunchPlan& plan, const std::string& folder);

/// The sockets of the engines that may run the containers of a process with @p env; the one that
/// `docker` means first.
std::vector<std::string> engine_sockets(const std::vector<EnvVar>& env);

}  // namespace gpuward::control
