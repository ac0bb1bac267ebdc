#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "config/config.h"
#include "config/problem.h"
#include "domain/service.h"

namespace gpuward::config {

/// What a service inherits from the program that starts it.
struct Surroundings {
  std::string path;    ///< PATH
  std::string folder;  ///< the working directory of services that name none

  /// Those of the calling process.
  static Surroundings current();
};

/// Looks at this machine, with the caller's rights, for what @p service needs to start: directory,
/// venv, env_file, program, and the folder of pid_file. Executes nothing and changes nothing. True
/// at the moment of the call only: a start can still fail, and then says so itself.
std::vector<Problem> check_machine(const ServiceModel& service, const Origin& origin,
                                   const Surroundings& here);

/// The same for every service of @p parsed, broken ones included; problems that @p parsed already
/// has are not repeated.
std::vector<Problem> check_machine(const Parsed& parsed, const Surroundings& here);

/// The file that the first word of the command means, found as exec would in the service's own
/// directory and PATH (venv/bin before it). Errors: ENOENT, EACCES when found but not executable.
Result<std::string> find_program(const ServiceModel& service, const Surroundings& here);

}  // namespace gpuward::config
