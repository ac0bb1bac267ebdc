#pragma once

#include <mutex>
#include <vector>

#include "os/fd.h"
#include "xray/work.h"

namespace gpuward::xray {

/// A started child: its number and, as long as it lives or is not collected, its pidfd.
struct Child {
  pid_t pid = 0;
  os::Fd pidfd;
};

/// Children that outlived their job. The service forgets them, as the article's app does: it only
/// collects the exit status of those that have ended, so that no zombie stays.
class Leftovers {
 public:
  void add(Child child);
  /// Any thread; never blocks.
  void collect();
  std::size_t count() const;

 private:
  mutable std::mutex mutex_;
  std::vector<Child> children_;
};

/// The three stages, each in a child of its own: `gpuward-xray --stage NAME --job N ...`.
/// @p gpu is the service's own context; a leaking job leaves its memory there.
JobResult run_in_children(const Job& job, const Options& options, Gpu* gpu, Leftovers& leftovers,
                          const std::stop_token& cancel);

}  // namespace gpuward::xray
