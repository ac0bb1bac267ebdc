#pragma once

#include <cstdint>
#include <map>

#include "domain/gpu.h"
#include "os/fd.h"
#include "os/process.h"

namespace gpuward::gpu {

/// Finds the local process that a row of the driver's list is about, so that no reuse of its number
/// can make it another's. A process is held (pidfd) from the first look that lists it on. It is
/// certain to be the row's when it was held before the list was read, or had started before, and
/// lives after: between two reads its number cannot have been another's. Only where the driver's
/// numbers are ours. One thread.
class Pairer {
 public:
  /// How many processes are held at most; further ones are looked up at each look.
  static constexpr std::size_t kMostHeld = 8192;

  Pairer();

  /// Now, in the ticks of a process's start time, rounded down. Ask before a list is read.
  static std::uint64_t now_ticks();

  /// Call after a list was read and before its rows are paired: notices who has ended.
  void refresh();

  /// Sets @p row's start time and pairing.
  /// @param listed_ticks  now_ticks() before its list was read
  void pair(GpuProcess& row, std::uint64_t listed_ticks);

  /// Ends a look over all cards: whoever was in no list since the last call is let go.
  void end_look();

  std::size_t held() const { return held_.size(); }

 private:
  struct Held {
    os::Process process;
    std::uint64_t look = 0;  // the last that listed it
  };
  void hold(os::Process process);

  os::Fd ended_;  // epoll: the held ones that have ended; empty: each is asked by itself
  std::map<std::uint32_t, Held> held_;
  std::size_t room_;
  std::uint64_t look_ = 1;
};

}  // namespace gpuward::gpu
