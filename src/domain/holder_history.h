#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "base/pid.h"
#include "base/units.h"

namespace gpuward {

/// What has been seen, look by look, of the processes that hold GPU memory: since when each is
/// idle, and whether it waits for work or was left behind. Pure; holds only those of the last look,
/// at most kMost.
class HolderHistory {
 public:
  static constexpr std::size_t kMost = 4096;
  /// Longer without a look, and nobody's idleness is known any more: the GPU may have been used.
  static constexpr Duration kLongestGap = std::chrono::seconds(10);
  /// Who works again after so long a pause is no leftover of one job.
  static constexpr Duration kLull = std::chrono::seconds(60);
  /// Of a core, in clock ticks of 10 ms: below is the breathing of an idle interpreter.
  static constexpr double kIdleTicksPerSecond = 0.1;
  static constexpr std::uint64_t kIdleBurstTicks = 3;

  struct Sight {
    ProcessId id;
    Pid parent{};
    Bytes memory{};
    bool gpu_busy = false;  ///< also where it cannot be told whose work the card does
    std::optional<std::uint64_t> cpu_ticks{};  ///< of it and its children; absent: not read now
    bool start_up_body = false;                ///< born before its service was READY
  };

  struct Use {
    Instant first_seen{};
    Instant idle_since{};
    bool cpu_known = false;      ///< its CPU time was read at least twice since
    bool start_up_body = false;  ///< or in the place of one that was
    bool worked_again = false;   ///< after kLull without work
    bool told = false;           ///< the ledger knows; for whoever keeps it
  };

  void see(std::span<const Sight> sights, Instant now);
  /// None for one that the last look did not show.
  const Use* find(const ProcessId& id) const;
  Use* find(const ProcessId& id);
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Use use;
    Pid parent;
    Bytes memory;
    std::optional<std::uint64_t> cpu_ticks;        // at the last reading
    std::optional<std::uint64_t> idle_from_ticks;  // at the first reading of this idleness
    bool seen = false;
  };

  Entry make(const Sight& sight, Instant now);
  static bool worked(Entry& entry, const Sight& sight, Instant now);
  bool take_vacancy(Pid parent);

  std::map<ProcessId, Entry> entries_;
  /// Parents of members of a start-up body that ended: whom they start next takes the place.
  std::deque<Pid> vacancies_;
  Instant last_{};
};

}  // namespace gpuward
