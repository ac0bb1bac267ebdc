#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "base/pid.h"
#include "support/temp_folder.h"

namespace gpuward::os {

using tests::TempFolder;

/// Asks again until @p done says yes; false once five seconds are over.
template <class Done>
bool within(Done&& done, std::chrono::milliseconds limit = std::chrono::seconds(5)) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    ::usleep(500);
  }
  return true;
}

/// A real child that waits for a signal; killed and collected at the end.
class Child {
 public:
  Child() : pid_{::fork()} {
    if (pid_.number != 0) return;
    for (;;) ::pause();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { collect(SIGKILL); }

  Pid pid() const { return pid_; }
  /// Kills and waits; returns the wait status, -1 if that was done before.
  int collect(int signal_number) {
    if (!pid_) return -1;
    int status = 0;
    ::kill(pid_.number, signal_number);
    ::waitpid(pid_.number, &status, 0);
    pid_ = {};
    return status;
  }

 private:
  Pid pid_;
};

}  // namespace gpuward::os
