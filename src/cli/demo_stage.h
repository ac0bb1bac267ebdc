#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"

namespace gpuward::cli {

struct DemoOptions {
  bool simulated = false;  ///< the simulated card even where there is a real one
};

/// What the demo plays on: a temporary home, two CPUs, a card and a service's description. It
/// belongs to the process that made it: close() ends every service of that home, the simulated card
/// and the folder.
class DemoStage {
 public:
  /// Sets this process's environment (GPUWARD_HOME; GPUSIM_STATE and LD_LIBRARY_PATH where the card
  /// is simulated) and CPU affinity. Errors name the part that is missing beside this program.
  static Result<DemoStage> set_up(const DemoOptions& options);
  /// False, with a word on standard error, if something could not be ended: the folder then stays.
  bool close();

  bool simulated() const { return simulated_; }
  unsigned cpus() const { return cpus_; }
  unsigned cpus_here() const { return cpus_here_; }
  const std::string& folder() const { return folder_; }
  std::string films() const { return beside_ + "/films"; }
  std::string article() const { return beside_ + "/article"; }
  std::uint16_t port() const { return port_; }
  /// The service's command, listening on 127.0.0.1:@p port.
  std::vector<std::string> command(std::uint16_t port) const;

 private:
  Result<void> prepare_card(bool simulate);
  Result<void> write_service();

  std::string beside_;  // the folder of our programs
  std::string folder_;
  bool simulated_ = false;
  unsigned cpus_ = 0, cpus_here_ = 0;
  std::uint16_t port_ = 0;
};

/// Runs a program of ours quietly and waits for it; its exit code.
Result<int> run_sibling(const std::string& name, const std::vector<std::string>& args);

}  // namespace gpuward::cli
