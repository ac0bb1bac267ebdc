#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/inline_vec.h"
#include "base/pid.h"
#include "base/text.h"
#include "base/units.h"
#include "domain/container.h"
#include "domain/lifecycle.h"
#include "domain/service.h"

namespace gpuward {

/// How strongly a tree is held; what each cannot promise is said by limits_of().
enum class Containment : std::uint8_t {
  cgroup = 0,     ///< cgroup + subreaper: membership from the first instruction
  subreaper = 1,  ///< every orphan comes to the anchor; lost when the anchor dies
  pidns = 2,      ///< a PID namespace, which nobody can leave; with a cgroup where one can be had
};
std::string_view to_string(Containment level);
/// One sentence: what this level cannot promise. Empty when there is nothing to say.
std::string_view limits_of(Containment level);

/// Everything an anchor needs to know to lead a tree, resolved by whoever starts it: ports picked,
/// paths absolute, environment complete.
struct LaunchPlan {
  std::string service;
  std::uint32_t replica = 0;
  std::vector<std::string> command;
  std::vector<EnvVar> env;  ///< the whole environment of main
  std::string directory;    ///< absolute
  Readiness ready;          ///< address is numeric by now
  Liveness live;            ///< likewise
  std::uint16_t port = 0;   ///< what {port} became; 0: none was asked for
  std::chrono::milliseconds grace{10'000};
  RestartPolicy restart = RestartPolicy::never;
  Backoff backoff;
  std::string pid_file;  ///< absolute; empty: none
  std::string log_file;  ///< absolute
  LogPolicy log;
  LaunchRights rights;
  TreeLimits limits;
  std::string temp_folder;  ///< absolute, the tree's own and emptied by its anchor; empty: none
  std::chrono::milliseconds temp_max_age{
      0};  ///< what is unused in it for so long goes; 0: no limit
  ContainmentWish containment = ContainmentWish::automatic;
  OnAnchorDeath on_anchor_death = OnAnchorDeath::keep;
  std::vector<std::string> after;    ///< as the service was written when it started
  std::vector<std::string> needs;    ///< likewise
  std::vector<std::string> release;  ///< patterns (glob.h) of what is handed over at its end
  std::uint64_t mark = 0;            ///< process_mark() of the service it was made of; 0: not known
  std::string cgroup_name;           ///< name of its own group below the place found at start
  ContainerPlan container;
  std::vector<KeptSocket> sockets;
  std::vector<HandedFile> files;  ///< with the sockets at most kMostHanded
};

/// What a line in a log tells of the GPU, the least bad first. Never the line itself (harm.md 11).
enum class LogAlarm : std::uint8_t {
  none = 0,
  traceback = 1,      ///< "Traceback (most recent call last)"
  cuda_error = 2,     ///< "CUDA error"
  device_assert = 3,  ///< "device-side assert"
  out_of_memory = 4,  ///< "CUDA out of memory"
};
/// "CUDA out of memory"; empty for none.
std::string_view to_string(LogAlarm alarm);

/// Where a tree is in its life; the short form of life::State that travels.
enum class Phase : std::uint8_t {
  idle = 0,
  starting = 1,
  ready = 2,
  ending = 3,
  settling = 4,
  backing_off = 5,
  stopped = 6,
  failed = 7,
  unkillable = 8,
};
Phase phase_of(const Life& life);
/// Stopped or failed: its anchor has nothing left to lead.
bool is_over(Phase phase);

/// One process that did not end, with what can be said about it.
struct Survivor {
  Pid pid;
  Text<32> name;
  std::uint8_t state = 0;  ///< the letter of /proc/PID/stat
  Text<40> wchan;          ///< kernel function it waits in; empty if it cannot be seen
  std::chrono::milliseconds killed_for{0};  ///< since KILL was sent to it
  bool in_container = false;                ///< of the service
};

/// A process that is handed over on purpose: `release` names it, or one that it descends from.
struct Released {
  ProcessId id;
  Pid session;  ///< when it was handed over
  Text<32> name;
};
inline constexpr std::size_t kMostReleased = 16;  ///< that a receipt or a record names

/// What was handed over when a tree ended, or, `all`, instead of ending it.
struct HandOver {
  InlineVec<Released, kMostReleased> list;
  std::uint32_t more = 0;  ///< beyond those that are named
  Text<120> trouble;       ///< what was promised and could not be kept; empty: nothing
  bool all = false;
};

/// What was ended, and the proof. One per end of a tree.
struct Receipt {
  std::uint32_t generation = 0;  ///< 0: there is no receipt yet
  std::uint32_t processes_ended = 0;
  bool forced = false;  ///< KILL was needed
  std::chrono::microseconds duration{0};
  InlineVec<std::uint16_t, 32> ports_freed;
  bool ports_unknown = false;              ///< it may have listened on others: too many to ask
  InlineVec<std::uint16_t, 8> ports_held;  ///< still listened on, by someone else or a survivor
  InlineVec<Survivor, 16> survivors;
  MemoryProof memory = MemoryProof::not_visible;
  Bytes gpu_bytes_returned;
  std::int64_t at_unix_ms = 0;
  bool only_seen = false;  ///< held without a cgroup and taken over: proves the processes once seen
  ContainerId container;   ///< that ended, or is left; empty: none is known
  ContainerProof container_proof = ContainerProof::not_judged;  ///< of a service that has one
  HandOver released;
};

/// Where the limits of a tree are kept, what came of them, and whom the kernel killed for memory.
struct LimitState {
  Text<512> memory_group;          ///< absolute path; empty: none, then nothing is known of kills
  Text<512> cpu_group;             ///< likewise
  Text<200> memory_trouble;        ///< why another memory_max does not hold yet; for people
  Text<200> cpu_trouble;           ///< why cpu_weight is not in force; for people
  std::uint64_t kills_before = 0;  ///< the kernel's count when this generation began
  std::uint32_t kills = 0;         ///< since then
};

/// How AnchorState::tree_variable begins.
inline constexpr std::string_view kTreeVariable = "GPUWARD_TREE=";

/// What an anchor tells of its tree, in its record and to whoever asks. Inline throughout.
struct AnchorState {
  Phase phase = Phase::idle;
  ProcessId anchor;
  ProcessId main;    ///< 0 while there is none
  Pid main_session;  ///< of main's session, which is its number; stays when it has ended
  std::uint32_t generation = 0;
  std::uint32_t failures = 0;
  Containment level = Containment::subreaper;
  std::uint8_t cgroup_kind = 0;  ///< os::CgroupKind
  Text<512> cgroup;              ///< absolute path; empty: none
  Text<200> why_no_cgroup;       ///< for people; empty: it has one
  bool has_exit = false;
  ExitStatus last_exit;
  Reason reason;
  std::int64_t since_ns = 0;         ///< CLOCK_MONOTONIC of the last change of phase
  std::int64_t next_ns = 0;          ///< when the next attempt is due; 0: none
  Text<64> ready_evidence;           ///< "GET /config answered 200"
  Bytes gpu_held;                    ///< as last told by the warden
  bool gpu_seen = false;             ///< has anyone told
  bool wants_memory_proof = false;   ///< whoever sees the GPU: answer, please
  std::uint64_t lost_log_bytes = 0;  ///< at least so many could not be written
  std::uint64_t wakeups = 0;         ///< of the anchor's loop, so that idleness can be measured
  Receipt receipt;                   ///< of the last end
  int spawn_errno = 0;         ///< why main could not be started; 0: it could, or was not tried
  Text<200> spawn_failure;     ///< the step and its object: "execute 'python3'"
  bool stop_asked = false;     ///< the tree is ending for good: whoever adopts it goes on with that
  bool restart_asked = false;  ///< it is ending to be started again, by order; likewise
  std::uint32_t restart_orders = 0;  ///< obeyed so far: whoever sent one sees that it was heard
  LogAlarm alarm = LogAlarm::none;   ///< the worst that this generation has printed
  /// CLOCK_MONOTONIC of when it last printed that, or what is as grave; told at most once a second.
  /// 0: none, or an anchor of an older version.
  std::int64_t alarm_ns = 0;
  std::uint32_t outside = 0;  ///< processes in the record's list: in no cgroup of ours
  Reason last_failure;        ///< why it was last not running; stays when it runs again
  Text<48> tree_variable;     ///< "GPUWARD_TREE=...", in the environment of main and its children
  Text<64> notify_name;       ///< of its notification socket
  LimitState limits;
  ProcessId init;  ///< first process of its PID namespace; 0: it has none
  bool doubt =
      false;  ///< it was taken over with processes in no cgroup: what was not seen may live on
  ContainerTrace container;
  /// Handed over and alive, as far as they are in no group for those: not of the tree any more.
  InlineVec<Released, kMostReleased> kept;
  Text<512> released_group;   ///< absolute path of the cgroup of the others; empty: none
  bool has_released = false;  ///< something was handed over, by `release` or all of it
  bool name_taken = false;    ///< it could not begin: another anchor has its folder
};

/// "returned": a contract of the JSON output.
std::string_view to_string(MemoryProof proof);

/// "the kernel killed 2 of its processes for memory (memory_max 64.0 MiB)"; empty for none. How
/// main ended stands beside it: whether it was one of them is not known.
Text<96> describe_kills(const LimitState& state, const TreeLimits& limits);

/// Does the command start containers? They live outside its tree, so an empty tree alone proves
/// nothing (harm.md 17).
bool starts_containers(const LaunchPlan& plan);

/// May processes live of the tree that a past anchor left with @p state, though nobody finds any?
/// They were handed over, or in no cgroup when it died, or are in a container.
bool may_live_on(const AnchorState& state, const LaunchPlan& plan);

/// Is what lives of @p state left over of the tree @p mark, so that ending it ends no service?
/// @p main_lives: of AnchorState::main. @p led: an anchor leads it.
bool is_left_over_of(const AnchorState& state, std::string_view mark, bool led, bool main_lives);

/// The exit code that a finished stop deserves: 0 proven, 4 not proven.
int stop_exit_code(const AnchorState& state, const LaunchPlan& plan);

/// What a stop that is not proven lacks, as the rest of a sentence; empty when it is proven.
std::string_view why_not_proven(const AnchorState& state, const LaunchPlan& plan);

}  // namespace gpuward
