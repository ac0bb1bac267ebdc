#include "gpu/pid_space.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::gpu {
namespace {

constexpr ino_t kInitialCgroupNamespace = 0xEFFFFFFB;  // PROC_CGROUP_INIT_INO, linux/proc_ns.h
// PID_MAX_LIMIT on 64 bit: what pids of other namespaces may reach (pid_max is per namespace
// from 6.14 on).
constexpr std::uint32_t kPidLimit = 4 << 20;

bool in_initial_cgroup_namespace() {
  struct stat info{};
  return ::stat("/proc/self/ns/cgroup", &info) == 0 && info.st_ino == kInitialCgroupNamespace;
}

}  // namespace

bool device_file_is_denied(std::uint32_t minor) {
  const auto file = os::Fd::open("/dev/nvidia" + std::to_string(minor), O_RDWR | O_NONBLOCK);
  return !file && file.error().code == std::error_code(EPERM, std::generic_category());
}

PidSpace read_pid_space() {
  PidSpace space{.ours = false, .max = kPidLimit};
  space.ours = os::pids_are_the_kernels();
  // Engines mark their containers by a file; those that share the machine's pids are found by it.
  space.contained = !space.ours || !in_initial_cgroup_namespace() ||
                    ::access("/.dockerenv", F_OK) == 0 || ::access("/run/.containerenv", F_OK) == 0;
  if (!space.ours) return space;
  const auto text = os::read_file("/proc/sys/kernel/pid_max", 64);
  std::uint32_t max = 0;
  if (text && std::from_chars(text->data(), text->data() + text->size(), max).ec == std::errc{} &&
      max > 0)
    space.max = max;
  return space;
}

}  // namespace gpuward::gpu
