#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/pid.h"
#include "base/units.h"
#include "domain/anchor_state.h"

namespace gpuward {

/// What can be seen of the cards that a service works on. Only `visible` lets anything be concluded
/// from what is *not* there.
enum class CardSight : std::uint8_t {
  unknown = 0,  ///< nobody has looked yet, the last look is too old, or the sentinel is away
  visible = 1,
  no_gpu = 2,        ///< there is none here, for certain
  foreign_pids = 3,  ///< the driver's pids are of another pid space (harm.md 4)
  hidden = 4,        ///< MIG, rights: a card does not list its processes
  hung = 5,          ///< a call passed its deadline: SUSPECT
  mismatch = 6,      ///< the driver was changed underneath
  lost = 7,          ///< fell off the bus, or needs a reset: the driver's own word
  cut_off = 8,       ///< this container has lost its devices
};

enum class Witness : std::uint8_t { unknown = 0, yes = 1, no = 2 };

/// The GPU contexts of a tree: the driver's rows of its processes, now and since main's start.
struct ContextFacts {
  std::uint32_t listed = 0;      ///< processes of the tree that have one at the last look
  std::uint32_t lost_alive = 0;  ///< had one, have none, and live on
  /// Main is not one of them: whoever gave its context back may be ending, and be replaced by it.
  bool only_workers_lost = false;
  bool ever = false;             ///< in this generation
  Instant last_listed{};         ///< of any; meaningless unless ever
  Instant newest_listed{};       ///< when the youngest of those that are listed was first seen
  Bytes memory;                  ///< of those that are listed
  bool may_be_hidden = false;    ///< MPS serves on its card: that no row is there says nothing
  bool use_unexplained = false;  ///< no row explains who uses the card, or the memory it had there
};

/// One Xid of the kernel log that names a process of the tree.
struct XidFact {
  std::uint32_t number = 0;
  Pid pid;
  Instant at{};
  bool poisons = false;  ///< by the policy table the context of that process cannot work any more
  /// When the process that has this pid now was started; none: it has ended, and its poison with
  /// it.
  std::optional<Instant> began;
  std::optional<Instant> last_busy;  ///< when a look last found this very process on the GPU
};

/// The worst that its log told in this generation, and when it last did. Never the line itself.
struct AlarmFact {
  LogAlarm kind = LogAlarm::none;
  std::optional<Instant> at;  ///< none: not known
};

/// Known only where the gateway is in front.
struct JobFacts {
  std::uint32_t in_flight = 0;
  std::chrono::milliseconds oldest{0};     ///< how long the oldest of them has been in flight
  std::chrono::milliseconds usual{0};      ///< 99 of 100 take no longer
  std::uint32_t samples = 0;               ///< that `usual` stands on
  std::uint32_t failed_in_a_row = 0;       ///< answers of 5xx; a success sets it to 0
  Instant failing_since{};                 ///< the first of those
  std::uint32_t cuda_failed_in_a_row = 0;  ///< of those that speak of CUDA
  Instant cuda_failing_since{};            ///< the first of those
};

/// A known request that gpuward sends itself, or its liveness probe.
struct CanaryFacts {
  std::uint32_t failed_in_a_row = 0;   ///< answers of 5xx, or refused connections
  std::uint32_t silent_in_a_row = 0;   ///< no answer in time
  std::uint32_t changed_in_a_row = 0;  ///< an answer, and another one than the known
  Instant last{};                      ///< when the last one ended
  std::string changed_where{};         ///< where it differs; holds nothing of the answer
};

/// Totals of the whole tree, only ever compared with themselves. Absent: cannot be seen.
struct ProgressFacts {
  std::optional<std::uint64_t> cpu_ns;     ///< CPU time
  std::optional<std::uint64_t> io_bytes;   ///< read from and written to storage
  std::optional<std::uint64_t> out_bytes;  ///< its log, and its sockets where they can be seen
  std::uint32_t processes = 0;
};

/// Everything that a verdict stands on, as found at one moment. Gathered by the warden; absent
/// values are not known, and nothing is concluded from them.
struct ServiceFacts {
  Phase phase = Phase::idle;
  std::uint32_t generation = 0;  ///< of main
  Instant since{};               ///< of the phase
  bool paused = false;
  bool parked = false;

  CardSight sight = CardSight::unknown;
  /// Why nothing that uses a card may be started now (gpu.h); empty: it may.
  std::string restarts_blocked;
  std::string sight_detail;  ///< "GPU 0 does not answer"; for people
  ContextFacts context;
  /// Does any process of the tree have a device file of the driver open? The second witness.
  Witness device_files = Witness::unknown;
  std::optional<std::uint32_t> gpu_percent;  ///< of the tree, at the last look

  std::vector<XidFact> xids;  ///< of this generation
  AlarmFact alarm;
  std::optional<JobFacts> jobs;
  /// Connections of its clients that wait: not accepted yet, or with bytes that it has not read.
  std::optional<std::uint32_t> waiting;
  std::optional<CanaryFacts> canary;
  ProgressFacts progress;
};

}  // namespace gpuward
