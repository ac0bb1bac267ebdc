#pragma once

#include <string>
#include <string_view>

#include "base/pid.h"

namespace gpuward {

/// What a process is for this machine, by its name: such a one is not ended, whatever it holds.
enum class StrangerRole {
  any,
  manager,  ///< systemd or init, also a user's: it holds sockets for its services
  door,     ///< people come in through it: sshd
};

/// @p name as in /proc/PID/stat.
StrangerRole role_of(std::string_view name);

/// What has to be known of a process that gpuward did not start before it may be ended on order.
struct StrangerFacts {
  Pid pid;
  std::string command;
  bool our_ancestor = false;  ///< whoever asks was started by it, or is it
  bool kernel_thread = false;
  StrangerRole role = StrangerRole::any;
  bool seen = true;  ///< could its namespaces be read
  bool same_pid_namespace = true;
  std::string container;  ///< container_in() of its cgroups
  bool may_signal = true;
  std::string owner;  ///< "service 'x' of gpuward"; empty: nobody of ours
};

/// Why it is not ended, as a sentence that names it; empty when it may be.
std::string why_not_ended(const StrangerFacts& facts);

/// What in /proc/PID/cgroup (@p theirs) tells of a container engine, below where we ourselves stand
/// (@p ours): "docker", "libpod", ...; empty when nothing does.
std::string container_in(std::string_view theirs, std::string_view ours);

/// The unit of systemd that /proc/PID/cgroup (@p theirs) tells of, "old.service"; empty for none,
/// and for that in which we ourselves stand (@p ours). Its manager may start it again.
std::string unit_in(std::string_view theirs, std::string_view ours);

}  // namespace gpuward
