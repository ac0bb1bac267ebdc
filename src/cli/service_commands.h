#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

// up, down, start, stop, restart: 0 done and proven, 1 refused or failed, 3 timed out, 4 not
// proven, 5 warden not reachable.

namespace gpuward::cli {

struct ServiceOptions {
  std::vector<std::string> services;
  std::optional<std::chrono::milliseconds> timeout;
  bool json = false;
  bool take_over = false;  ///< `start`: ends first what holds the port and is not ours
  bool yes = false;        ///< without asking
};

struct UpOptions {
  std::vector<std::string> files;
  bool foreground = false;
};

int up(const UpOptions& options);
int down(const ServiceOptions& options);
int start(const ServiceOptions& options);
int stop(const ServiceOptions& options);
int restart(const ServiceOptions& options);

}  // namespace gpuward::cli
