#pragma once

#include <functional>
#include <string>

#include "base/error.h"
#include "base/units.h"

namespace gpuward::os {

/// Runs @p work in a child of this process and returns what it returned, at most 1 MiB: for looks
/// at file systems that may hang for ever, as network file systems do. The child is KILLed at
/// @p deadline and never waited for; stuck in the kernel, it ends when the file system comes back.
/// For programs with one thread. @p work must not print, and what it changes is lost.
/// Errors: timed_out; unreachable when the child died; as fork(2).
Result<std::string> run_aside(const std::function<std::string()>& work, Instant deadline);

/// statvfs(3) of the file system that holds @p path, or the nearest folder above that exists.
/// May hang: for run_aside().
struct Space {
  Bytes free;  ///< for this user
  Bytes size;
  std::uint64_t files = 0;  ///< 0: the file system does not count them
  std::uint64_t files_free = 0;
  bool in_memory = false;  ///< tmpfs or ramfs
};
Result<Space> space_of(const std::string& path);

}  // namespace gpuward::os
