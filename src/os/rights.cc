#include "os/rights.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/text.h"

namespace gpuward::os {
namespace {

constexpr int kMostCapabilities = 64;

bool set_limits(std::span<const ResourceLimit> limits) {
  for (const auto& limit : limits) {
    const auto value = limit.value == UINT64_MAX ? RLIM_INFINITY : static_cast<rlim_t>(limit.value);
    const rlimit both{value, value};
    if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &both) < 0) return false;
  }
  return true;
}

bool set_oom_score_adj(int score) {
  Text<16> text;
  text.append_number(score);
  const int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool written = ::write(file, text.view().data(), text.size()) >= 0;
  const int saved = errno;
  ::close(file);
  errno = saved;
  return written;
}

// The raw calls: glibc's would tell its threads, of which a fresh child has none, through memory
// that it shares with nobody any more.
bool change_user(const Rights& rights) {
  if (::prctl(PR_SET_KEEPCAPS, rights.limit_capabilities ? 1 : 0) < 0) return false;
  return ::syscall(SYS_setgroups, rights.groups.size(), rights.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, rights.gid, rights.gid, rights.gid) == 0 &&
         ::syscall(SYS_setresuid, rights.uid, rights.uid, rights.uid) == 0;
}

// Nothing beyond @p mask can come back by exec of a set-id program. Before the user changes,
// because it takes CAP_SETPCAP.
bool drop_from_bounding_set(std::uint64_t mask) {
  for (int n = 0; n < kMostCapabilities; ++n) {
    if ((mask >> n & 1) != 0 || ::prctl(PR_CAPBSET_READ, n) <= 0) continue;
    if (::prctl(PR_CAPBSET_DROP, n) < 0) return false;
  }
  return true;
}

// A user other than root keeps capabilities over exec only as ambient ones (capabilities(7)).
bool keep_capabilities(std::uint64_t mask) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> have{};
  if (::syscall(SYS_capget, &header, have.data()) < 0) return false;
  const std::array<std::uint32_t, 2> wanted = {static_cast<std::uint32_t>(mask),
                                               static_cast<std::uint32_t>(mask >> 32)};
  for (std::size_t n = 0; n < 2; ++n) {
    if ((wanted[n] & ~have[n].permitted) != 0) {
      errno = EPERM;
      return false;
    }
    have[n].effective = have[n].permitted = have[n].inheritable = wanted[n];
  }
  if (::syscall(SYS_capset, &header, have.data()) < 0) return false;
  for (int n = 0; n < kMostCapabilities; ++n)
    if ((mask >> n & 1) != 0 && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, n, 0, 0) < 0)
      return false;
  return true;
}

}  // namespace

RightsStep take_rights(const Rights& rights) {
  if (rights.umask >= 0) ::umask(static_cast<mode_t>(rights.umask));
  if (!set_limits(rights.limits)) return RightsStep::limits;
  if (rights.set_oom_score_adj && !set_oom_score_adj(rights.oom_score_adj))
    return RightsStep::oom_score_adj;
  if (rights.set_nice && ::setpriority(PRIO_PROCESS, 0, rights.nice) < 0) return RightsStep::nice;
  if (rights.limit_capabilities && !drop_from_bounding_set(rights.capabilities))
    return RightsStep::capabilities;
  if (rights.change_user && !change_user(rights)) return RightsStep::user;
  if (rights.limit_capabilities && !keep_capabilities(rights.capabilities))
    return RightsStep::capabilities;
  if (rights.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
    return RightsStep::capabilities;
  return RightsStep::none;
}

}  // namespace gpuward::os
