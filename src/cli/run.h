#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "domain/service.h"

namespace gpuward::cli {

struct RunOptions {
  std::string name;  ///< empty: after the command
  bool detach = false;
  std::string pid_file;
  ContainmentWish containment = ContainmentWish::automatic;
  std::vector<std::string> command;
  std::optional<std::chrono::milliseconds> grace;  ///< absent: as for every service
};

/// `gpuward run`: one anchor and, unless detached, this program in front of it. @return the exit
/// code: the command's own, 128 + signal, 126 not executable, 127 not found, 125 gpuward failed or
/// could not prove that nothing is left.
int run(const RunOptions& options);

}  // namespace gpuward::cli
