#include "gpu/pid_space.h"

#include <sys/stat.h>

#include <charconv>

#include "os/fd.h"

namespace gpuward::gpu {
namespace {

// The kernel gives the initial namespaces fixed inode numbers (include/linux/proc_ns.h).
constexpr ino_t kInitialPidNamespace = 0xEFFFFFFC;
// PID_MAX_LIMIT on 64 bit: what pids of other namespaces may reach (pid_max is per namespace
// from 6.14 on).
constexpr std::uint32_t kPidLimit = 4 << 20;

}  // namespace

PidSpace read_pid_space() {
  PidSpace space{.ours = false, .max = kPidLimit};
  struct stat info{};
  space.ours = ::stat("/proc/self/ns/pid", &info) == 0 && info.st_ino == kInitialPidNamespace;
  if (!space.ours) return space;
  const auto text = os::read_file("/proc/sys/kernel/pid_max", 64);
  std::uint32_t max = 0;
  if (text && std::from_chars(text->data(), text->data() + text->size(), max).ec == std::errc{} &&
      max > 0)
    space.max = max;
  return space;
}

}  // namespace gpuward::gpu
