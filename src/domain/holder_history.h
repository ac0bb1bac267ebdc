#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "base/pid.h"
#include "base/units.h"

namespace gpuward {

/// What has been seen, look by look, of the processes that hold GPU memory: since when each is
/// idle, and whether it waits for work or was left behind. Pure; holds those of the last look, and
/// those that are in none for the moment but live, at most kMost.
class HolderHistory {
 public:
  static constexpr std::size_t kMost = 4096;
  /// Longer without a look, and nobody's idleness is known any more: the GPU may have been used.
  static constexpr Duration kLongestGap = std::chrono::seconds(10);
  /// Who works again after so long a pause is no leftover of one job.
  static constexpr Duration kLull = std::chrono::seconds(60);
  /// Who is older when it is first seen has a past that nobody knows.
  static constexpr Duration kUnseenPast = std::chrono::seconds(30);
  /// Of a core, in clock ticks of 10 ms: below is the breathing of an idle interpreter.
  static constexpr double kIdleTicksPerSecond = 0.1;
  static constexpr std::uint64_t kIdleBurstTicks = 3;

  struct Sight {
    ProcessId id;
    Pid parent{};
    Bytes memory{};
    /// At work for all that can be told: the card's work may be its, or it has more children than
    /// are looked at.
    bool busy = false;
    Duration age{};                            ///< since it was started
    std::optional<std::uint64_t> cpu_ticks{};  ///< of it and its children; absent: not read now
    bool start_up_body = false;                ///< born before its service was READY
  };

  struct Use {
    Instant first_seen{};
    Instant idle_since{};
    bool cpu_known = false;      ///< its CPU time was read at least twice since
    bool start_up_body = false;  ///< or in the place of one that was, or may be for all we know
    bool worked_again = false;   ///< after kLull without work
    bool told = false;           ///< the ledger knows; for whoever keeps it
  };

  /// @p lives: asked of those that are in no row now. A card whose rows could not be read once is
  /// no end, and what is known of them is what keeps them from being taken for leftovers.
  void see(std::span<const Sight> sights, Instant now,
           const std::function<bool(const ProcessId&)>& lives = {});
  /// None for one that is gone.
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
    bool missed = false;  // at the last look
  };

  Entry make(const Sight& sight, Instant now);
  static bool worked(Entry& entry, const Sight& sight, Instant now);
  bool take_vacancy(Pid parent);
  void forget_the_ended(const std::function<bool(const ProcessId&)>& lives);

  std::map<ProcessId, Entry> entries_;
  /// Parents of members of a start-up body that ended: whom they start next takes the place.
  std::deque<Pid> vacancies_;
  Instant last_{};
};

}  // namespace gpuward
