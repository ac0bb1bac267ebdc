#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/pid.h"
#include "base/text.h"
#include "os/fd.h"
#include "os/proc_fs.h"

// Containers as the kernel shows them: every engine names the cgroup of a container by its id, 64
// hexadecimal digits (docker and podman with either cgroup driver, containerd, CRI-O), so the
// groups of a process tell which one it is in. Nothing here allocates, except where it says so.

namespace gpuward::os {

/// Reads the id that an engine's client has written into @p path; empty when there is none yet.
/// Only a regular file of ours or of root is believed: others could name somebody else's container.
Text<64> read_container_id(const char* path);

/// The part of a /proc/PID/cgroup text that leads to the group of container @p id, with the name
/// of its hierarchy: "/system.slice/docker-ID.scope" of the line "0::". nullopt: it is not in it.
/// The monitor that podman and CRI-O keep for each container ("conmon-ID") is not in it.
struct ContainerPath {
  bool v2 = false;
  std::string_view path;
};
std::optional<ContainerPath> find_container(std::string_view cgroups, std::string_view id);
/// The id of the innermost container that such a text tells of; empty: none.
std::string_view container_id_in(std::string_view cgroups);

/// The container that @p pid is in, empty for none.
Text<64> container_of(Pid pid);
/// Is @p pid in container @p id now?
bool in_container(Pid pid, std::string_view id);

/// Calls @p visit(Pid) for every process of this machine in container @p id that has not ended.
/// Reads every process's groups: about 10 us each.
template <class Visit>
Result<void> for_each_in_container(std::string_view id, Visit&& visit) {
  return for_each_process([&](Pid pid) {
    if (!in_container(pid, id)) return;
    const auto stat = read_stat(pid);
    if (stat && !stat->ended()) visit(pid);
  });
}
bool container_lives(std::string_view id);

/// The cgroup2 group of one container, held as an open directory.
class ContainerGroup {
 public:
  ContainerGroup() = default;
  /// Where cgroup2 is mounted; empty: nowhere. Allocates.
  static std::string find_mount();
  /// That of @p id, by its member @p pid. None when its groups are of another hierarchy, or cannot
  /// be opened from here.
  static ContainerGroup open(std::string_view mount, Pid pid, std::string_view id);

  explicit operator bool() const { return static_cast<bool>(dir_); }
  std::string_view path() const { return path_; }
  /// cgroup.events for poll(POLLPRI); -1 without one.
  int events_fd() const { return events_.get(); }
  /// False for one that was removed too: the kernel removes empty ones only. Reading is what quiets
  /// poll.
  bool populated() const;
  /// KILLs all members with one write. Errors: EACCES and EROFS without the right, ENOENT before
  /// Linux 5.14.
  Result<void> kill() const;

 private:
  Text<512> path_;
  Fd dir_;
  Fd events_;
};

}  // namespace gpuward::os
