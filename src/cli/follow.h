#pragma once

#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace gpuward::cli {

/// Prints what is appended to a log file, by inotify: no polling.
class LogFollower {
 public:
  /// Follows @p path from its present end; the file is made if it is missing.
  static Result<LogFollower> at_end(const std::string& path);
  /// Follows from @p lines before the end.
  static Result<LogFollower> before_end(const std::string& path, std::size_t lines);

  /// Readable when there may be something new.
  int fd() const { return watch_.get(); }
  /// Copies everything new to standard output. Output that nobody reads any more is dropped.
  void print_new();

 private:
  os::Fd file_;
  os::Fd watch_;
};

}  // namespace gpuward::cli
