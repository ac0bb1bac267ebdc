#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "domain/rights.h"
#include "domain/service.h"

namespace gpuward::control {

/// Turns names of users and groups into numbers, by getent(1) and id(1): our programs are static,
/// and name services are plug-ins. UID and UID:GID need neither. Sets HOME, USER and LOGNAME in @p
/// env where the user changes, unless @p own, the service's own variables, has them. May wait, at
/// most 5 s for each question. Errors: Errc::not_found naming who does not exist.
Result<LaunchRights> resolve_rights(const Rights& rights, const std::vector<EnvVar>& own,
                                    std::vector<EnvVar>& env);

}  // namespace gpuward::control
