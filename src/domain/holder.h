#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/pid.h"
#include "base/units.h"
#include "domain/gpu.h"

namespace gpuward {

/// What a process that holds GPU memory is to us. The numbers travel and never change meaning.
enum class HolderVerdict : std::uint8_t {
  cannot_see = 0,   ///< the driver's number names nobody that can be looked at from here
  owned = 1,        ///< of a service that runs
  orphan = 2,       ///< ours, and has outlived its service
  idle_holder = 3,  ///< of a service that runs, but of none of its work any more
  stranger = 4,     ///< never ours
};
/// "ORPHAN", "IDLE_HOLDER", "STRANGER": a contract of the JSON output. Empty for the others.
std::string_view to_string(HolderVerdict verdict);

/// Where a process comes from, as far as that is on record. Never a guess by name.
enum class Lineage : std::uint8_t {
  none = 0,        ///< nothing of ours tells of it
  member = 1,      ///< of the tree of a service that runs
  left_over = 2,   ///< of a tree of ours whose service is over
  given_up = 3,    ///< of a tree of ours, handed over on purpose: `release`
  other_mark = 4,  ///< carries the mark of a gpuward tree that no record here knows
};

/// What IDLE_HOLDER is judged from (harm.md 5).
struct IdleFacts {
  /// Key `idle_holder`; absent: off, or nobody has watched.
  std::optional<std::chrono::milliseconds> limit{};
  /// Its birth after its service became READY, in this generation; absent: the service is not
  /// ready, or says of itself only that it was started.
  std::optional<Duration> born_after_ready{};
  bool start_up_body = false;          ///< it has taken the place of one that was born before READY
  bool worked_again = false;           ///< after a long pause: it waits for work, and gets some
  std::optional<Duration> idle_for{};  ///< neither CPU nor GPU for so long; absent: not watched
  /// Of the service's client connections at its birth, those that are open still; absent: not
  /// known.
  std::optional<std::uint32_t> connections_left{};
};

struct HolderFacts {
  bool named = true;  ///< it is a process of our PID space that lives
  Lineage lineage = Lineage::none;
  std::string service;  ///< of `member`, `left_over`, `given_up`
  bool led = true;      ///< an anchor leads that tree now
  IdleFacts idle;
};

/// The gateway will tell which job a process was born in; without it only long silence speaks.
inline constexpr Duration kStartUpTail = std::chrono::seconds(5);

/// Is it an IDLE_HOLDER? Only what was born clearly after READY, took nobody's place, has not
/// worked again after a long pause, has been silent for the whole limit, and none of whose clients
/// is left. What is not known speaks against it.
bool is_idle_holder(const HolderFacts& facts);

struct Holding {
  HolderVerdict verdict = HolderVerdict::cannot_see;
  std::string sentence;
};
/// The one rule of what a holder is, with a sentence for people. Pure.
Holding judge(const HolderFacts& facts);

/// Why nobody may order its end, as a sentence; empty when they may. @p kind: GpuProcess::kind.
/// Ending a client of MPS stalls the others (harm.md 8); a tree that the driver's checkpoint once
/// restored can take the machine along (harm.md 1).
std::string why_not_reaped(std::uint8_t kind, bool ever_restored);

/// Where a stranger comes from, for those who have to find its owner.
struct HolderOrigin {
  std::string unit;      ///< of systemd: "jupyter.service"
  std::string terminal;  ///< "tmux", "screen", "an ssh login", ...; empty: none is seen
};
/// @p theirs, @p ours: /proc/PID/cgroup of it and of whoever asks. @p ancestors: the kernel's names
/// of its parent, its parent's parent and so on.
HolderOrigin origin_of(std::string_view theirs, std::string_view ours,
                       const std::vector<std::string>& ancestors);

/// One process on one card, as `ps` and `reap` show it.
struct HolderReport {
  ProcessId id;     ///< start_ticks 0: no process of ours has that number
  std::string gpu;  ///< uuid of the card
  std::optional<Bytes> memory{};
  std::optional<std::uint32_t> sm_percent{};
  std::uint8_t kind = 0;  ///< GpuProcess::kind; 2: a client of MPS
  HolderVerdict verdict = HolderVerdict::cannot_see;
  std::string sentence;
  std::string service;  ///< whose it is, or was; empty: nobody's of ours
  std::uint32_t replica = 0;
  std::string command;
  std::optional<std::uint32_t> uid{};
  std::string container;               ///< the whole id; empty: none
  std::string unit;                    ///< HolderOrigin::unit
  std::string terminal;                ///< HolderOrigin::terminal
  std::vector<std::uint16_t> ports{};  ///< TCP ports it listens on
  std::optional<std::uint64_t> age_ms{};
  std::optional<std::uint64_t> idle_ms{};  ///< absent: nobody has watched it
  std::string refused;  ///< why `reap` must not end it, whoever orders it; empty: it may be
};

/// Every byte of one card that is in use: the parts add up to `used`.
struct CardReport {
  std::string gpu;  ///< uuid
  Bytes used;
  Bytes owned;
  Bytes orphans;
  Bytes idle_holders;
  Bytes strangers;
  Bytes unnamed;         ///< of rows that name nobody who can be seen
  Bytes phantom;         ///< of no row at all
  bool visible = false;  ///< false: the rows could not be read; only `used` says anything
};
CardReport sum_up(const GpuDevice& device, const std::vector<HolderReport>& holders);

/// Who may be behind memory that no row explains. All of it is seen; none of it is proven.
struct PhantomFacts {
  struct Suspect {
    Pid pid;
    std::string command;
    enum class Why : std::uint8_t {
      leader_ended = 0,  ///< its first thread has ended, others have not
      cannot_end = 1,    ///< in an uninterruptible sleep, with the card open
      holds_device = 2,  ///< has the card open and is in no row: a forked child of a holder is
    } why = Why::holds_device;
  };
  std::vector<Suspect> suspects{};
  std::uint32_t more = 0;          ///< suspects beyond those
  std::uint32_t unreadable = 0;    ///< processes that could not be looked into
  bool cut = false;                ///< the time for looking was over before all were looked at
  bool own_pid_namespace = false;  ///< we see a part of the machine's processes only
  /// The driver's rows name processes of another PID space: who is in one cannot be told.
  bool rows_of_others = false;
};
/// What can be said, a sentence each. Never whose the memory is.
std::vector<std::string> explain_phantom(const PhantomFacts& facts);

}  // namespace gpuward
