#pragma once

#include <map>
#include <string>

#include "base/pid.h"
#include "config/config.h"
#include "control/home.h"

namespace gpuward::cli {

/// Whose a process is, if it is one of gpuward's: of this install by its records, of another one by
/// the anchor above it.
class Owners {
 public:
  explicit Owners(const control::Home& home);

  bool runs(const std::string& service) const;
  /// "service 'x' of gpuward"; empty: nobody's of ours.
  std::string of(Pid pid) const;

 private:
  std::map<pid_t, std::string> services_;
};

/// The files that a warden of @p home would read: those of the last `up -c`, else etc/*.toml.
config::Parsed read_configuration(const control::Home& home);

}  // namespace gpuward::cli
