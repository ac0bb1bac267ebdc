#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "base/error.h"
#include "os/fd.h"

namespace gpuward::cli {

/// Prints what is appended to a log, by inotify: no polling. Goes on in the new file when the log
/// is rotated or moved away, through those in between too (NAME.log.1 is the newest old one).
class LogFollower {
 public:
  /// Follows @p path from its present end; the file is made if it is missing.
  static Result<LogFollower> at_end(const std::string& path);
  /// Follows from @p lines before the end; if need be they begin in the newest old file.
  static Result<LogFollower> before_end(const std::string& path, std::size_t lines);

  /// Readable when there may be something new.
  int fd() const { return watch_.get(); }
  /// Copies everything new to standard output. Output that nobody reads any more is dropped.
  void print_new();

 private:
  std::optional<int> number_of(const struct stat& file) const;
  os::Fd next_file() const;
  void copy() const;
  void watch_file();

  std::string path_;
  os::Fd file_;
  os::Fd watch_;
};

}  // namespace gpuward::cli
