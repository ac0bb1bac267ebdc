#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>

namespace gpuward {

/// A process number in *our* PID namespace. It names nothing for long: numbers are reused.
struct Pid {
  pid_t number = 0;

  explicit operator bool() const { return number > 0; }
  friend auto operator<=>(const Pid&, const Pid&) = default;
};

/// A process for good, within one boot: number and start time (field 22 of /proc/PID/stat, clock
/// ticks since boot). Two processes of one number never share it (proc_pid_stat(5)).
struct ProcessId {
  Pid pid;
  std::uint64_t start_ticks = 0;

  explicit operator bool() const { return static_cast<bool>(pid); }
  friend auto operator<=>(const ProcessId&, const ProcessId&) = default;
};

}  // namespace gpuward
