#pragma once

#include <string>
#include <vector>

namespace gpuward::cli {

struct ReapOptions {
  std::vector<std::string> names;  ///< services or pids; empty: all that may go unnamed
  bool dry_run = false;
  bool yes = false;
  bool json = false;
};

/// `gpuward reap`, also `clean`: shows who holds GPU memory without a right to it, asks, ends them
/// and proves that their memory is back.
/// @return 0: done and proven, or nothing was to be done; 1: refused; 4: not proven; 5: what is to
/// be ended needs a warden that writes it down, and none runs.
int reap(const ReapOptions& options);

}  // namespace gpuward::cli
