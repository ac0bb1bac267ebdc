#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace gpuward {

enum class LimitKind : std::uint8_t {
  core = 0,
  nofile = 1,
  nproc = 2,
  memlock = 3,
  stack = 4,
  as = 5,
  fsize = 6,
  data = 7,
  cpu = 8,
};
inline constexpr std::uint64_t kUnlimited = UINT64_MAX;

/// "nofile": as the configuration names it.
std::string_view to_string(LimitKind kind);
std::optional<LimitKind> parse_limit_kind(std::string_view name);
/// Is its value a number of bytes (else of things, or seconds)?
bool is_in_bytes(LimitKind kind);

struct Limit {
  LimitKind kind = LimitKind::core;
  std::uint64_t value = 0;  ///< soft and hard; kUnlimited for none
  friend bool operator==(const Limit&, const Limit&) = default;
};

/// The number of a capability by its name without "cap_", in any case: "net_bind_service" is 10.
/// As in linux/capability.h, up to Linux 5.9; later kernels have brought none.
std::optional<int> parse_capability(std::string_view name);

/// What a service may do, as its operator wrote it. Absent parts stay as the warden's.
struct Rights {
  std::string user;                 ///< a name, or UID, or UID:GID
  std::vector<std::string> groups;  ///< besides those of the user
  std::optional<std::uint32_t> umask;
  std::vector<Limit> limits;
  std::optional<std::uint64_t> capabilities;  ///< bit n: capability n
  bool no_new_privileges = false;
  std::optional<int> oom_score_adj;
  std::optional<int> nice;
  friend bool operator==(const Rights&, const Rights&) = default;
};

/// The same in numbers, resolved by whoever starts the service.
struct LaunchRights {
  std::optional<std::uint32_t> uid;  ///< absent: stays who it is; gid and groups have no meaning
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;
  std::optional<std::uint32_t> umask;
  std::vector<Limit> limits;
  std::optional<std::uint64_t> capabilities;
  bool no_new_privileges = false;
  std::optional<std::int32_t> oom_score_adj;
  std::optional<std::int32_t> nice;
};

/// Limits of a whole tree, kept by the kernel in its control groups. 0: none.
struct TreeLimits {
  std::uint32_t cpu_weight = 0;  ///< 1 to 10000; 100 is everybody's
  Bytes memory_max;              ///< of all its processes together, without swap
  friend bool operator==(const TreeLimits&, const TreeLimits&) = default;
};

}  // namespace gpuward
