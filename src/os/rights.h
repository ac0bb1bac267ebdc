#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

namespace gpuward::os {

struct ResourceLimit {
  int resource = 0;         ///< RLIMIT_...
  std::uint64_t value = 0;  ///< soft and hard; UINT64_MAX: unlimited
};

/// What a process may do, in numbers. Absent parts stay as inherited.
struct Rights {
  bool change_user = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::span<const gid_t> groups;  ///< supplementary; used with change_user only
  int umask = -1;                 ///< -1: as inherited
  std::span<const ResourceLimit> limits;
  bool limit_capabilities = false;
  std::uint64_t capabilities = 0;  ///< bit n: capability n; what may be kept, by children too
  bool no_new_privileges = false;
  bool set_oom_score_adj = false;
  int oom_score_adj = 0;
  bool set_nice = false;
  int nice = 0;
};

/// The parts of Rights, for messages.
enum class RightsStep : std::uint8_t { none, limits, oom_score_adj, nice, user, capabilities };

/// Makes them those of the calling process, for good. Async-signal-safe: for a child between clone
/// and exec. @return the part that failed, with errno set; none when all is done.
RightsStep take_rights(const Rights& rights);

}  // namespace gpuward::os
