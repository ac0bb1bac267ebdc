#include "os/kernel.h"

#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>

#include "os/fd.h"

namespace gpuward::os {
namespace {

bool try_pidfd() {
  const long number = ::syscall(SYS_pidfd_open, ::getpid(), 0);
  if (number < 0) return false;
  const Fd fd = Fd::take(static_cast<int>(number));
  return ::syscall(SYS_pidfd_send_signal, fd.get(), 0, nullptr, 0) == 0;
}

// Asks for a child inside an impossible cgroup: a kernel that knows the flag answers EBADF before
// it makes anything; one without clone3 says ENOSYS, one without the flag EINVAL or E2BIG.
bool try_clone_into_cgroup() {
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = 0x7ffffffe;
  const long child = ::syscall(SYS_clone3, &args, sizeof args);
  if (child == 0) ::_exit(0);  // not reachable on Linux; a sandbox that ignores the flag gets here
  return child < 0 && errno == EBADF;
}

// struct pidfd_info of linux/pidfd.h, which the headers of our oldest systems lack, as far as
// Linux 6.13 had it (PIDFD_INFO_SIZE_VER0); 6.15 gives the exit code a place of its own in it.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup_id;
  std::uint32_t ids[11];
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr std::uint64_t kInfoExit = 1U << 3;

}  // namespace

bool try_exit_info() {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) ::_exit(7);
  const long number = ::syscall(SYS_pidfd_open, child, 0);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (number < 0) return false;
  const Fd fd = Fd::take(static_cast<int>(number));
  PidfdInfo info{};
  info.mask = kInfoExit;
  return ::ioctl(fd.get(), kPidfdGetInfo, &info) == 0 && (info.mask & kInfoExit) != 0 &&
         WEXITSTATUS(info.exit_code) == 7;
}

Kernel probe_kernel(std::string_view mask, std::string* unknown) {
  Kernel found;
  found.pidfd = try_pidfd();
  found.clone_into_cgroup = try_clone_into_cgroup();
  found.proc_children = ::access("/proc/thread-self/children", R_OK) == 0;
  while (!mask.empty()) {
    const auto comma = mask.find(',');
    const auto name = mask.substr(0, comma);
    mask = comma == std::string_view::npos ? std::string_view{} : mask.substr(comma + 1);
    if (name.empty()) continue;
    if (name == "no_pidfd")
      found.pidfd = false;
    else if (name == "no_clone_into_cgroup")
      found.clone_into_cgroup = false;
    else if (name == "no_cgroup_kill")
      found.cgroup_kill = false;
    else if (name == "no_cgroup_freeze")
      found.cgroup_freeze = false;
    else if (name == "no_cgroup")
      found.cgroup = false;
    else if (name == "no_proc_children")
      found.proc_children = false;
    else if (name == "no_cgroup1")
      found.cgroup1 = false;
    else if (name == "no_pid_namespace")
      found.pid_namespace = false;
    else if (name == "no_cgroup2")
      found.cgroup2 = false;
    else if (unknown != nullptr)
      unknown->append(unknown->empty() ? "" : ",").append(name);
  }
  return found;
}

const Kernel& kernel() {
  static const Kernel found = [] {
    const char* mask = std::getenv("GPUWARD_KERNEL_MASK");
    return probe_kernel(mask == nullptr ? "" : mask);
  }();
  return found;
}

}  // namespace gpuward::os
