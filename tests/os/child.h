#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>

#include "base/pid.h"
#include "os/fd.h"

namespace gpuward::os {

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

/// A folder for one test, removed with what the test left in it.
class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/gpuward-test-XXXXXX";
    if (::mkdtemp(name) != nullptr) path_ = name;
    if (auto dir = Fd::open(path_, O_RDONLY | O_DIRECTORY)) dir_ = std::move(*dir);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() {
    if (!path_.empty()) (void)!std::system(("rm -rf '" + path_ + "'").c_str());
  }

  const std::string& path() const { return path_; }
  const Fd& dir() const { return dir_; }

 private:
  std::string path_;
  Fd dir_;
};

}  // namespace gpuward::os
