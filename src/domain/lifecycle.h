#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "base/inline_vec.h"
#include "base/text.h"
#include "base/units.h"
#include "domain/service.h"

namespace gpuward {

// clang-format off
// The life of one process tree, as its anchor leads it. Pure: step() makes no system call; it takes
// what happened and the time, and says what is now true and what has to be done.
//
//            begin                     ready
//   Idle --------------> Starting ------------> Ready
//                         ^    |                  |
//                         |    | main ends, stop or restart is asked, not ready in time
//                         |    v                  v
//                         |   Ending: TERM to the whole tree, grace, then KILL, until it is *proven* empty
//                         |    |
//                         |    v
//                         |   Settling: the GPU memory of the dead is awaited before anything goes on
//                         |    |             |             |
//                         |    | restart     | by policy   | stop, or no policy repeats it
//                         |    |             v             v
//                         +----+-------- BackingOff       Over (stopped or failed)
//
// - A new generation starts only from a tree that is proven empty: no second copy, ever.
// - Ending is one state whatever began it; a stop that arrives while it runs only changes what comes
//   after (a stop outranks a restart) and may shorten the grace, never lengthen it.
// - A tree that is not empty kUnkillableAfter after the KILL is *unkillable*: said, kept trying, and it
//   leaves that state by becoming empty.
// - kCrashLoop failures in a row end in Over(failed), whatever the policy. An end with code 0 under
//   `always` is no failure.
// - A main that ends before it was ever ready since the tree was started by hand ends in Over(failed):
//   a command that cannot come up is a mistake to read about, not a crash to repeat. Policy `always`
//   repeats even that.
// clang-format on

/// How main ended.
struct ExitStatus {
  bool signaled = false;
  int value = 0;  ///< exit code, or signal number
  bool core = false;
  bool unknown = false;  ///< it was not our child: the tree was adopted, nobody told how it ended
  /// The shell's number for it: code, or 128 + signal.
  int shell_code() const { return signaled ? 128 + value : value; }
  bool success() const { return !unknown && !signaled && value == 0; }
  friend bool operator==(const ExitStatus&, const ExitStatus&) = default;
};

/// Was the tree's GPU memory seen to come back?
enum class MemoryProof : std::uint8_t {
  none = 0,         ///< it never held any
  returned = 1,     ///< seen gone
  not_visible = 2,  ///< nobody here can see it: no driver, no rights, another pid space
  held = 3,         ///< still held when the deadline passed
};

/// Why a tree ended or did not come up, for people: "exited with code 3", "not ready within 60 s".
using Reason = Text<160>;

/// So many failures in a row, none of which ran for Backoff::reset, are a crash loop: it is given
/// up until someone starts it by hand. With the default back-off that takes about five minutes.
constexpr std::uint32_t kCrashLoop = 10;

constexpr auto kUnkillableAfter = std::chrono::seconds(5);
constexpr auto kMemoryWithin = std::chrono::seconds(10);

namespace life {

struct Idle {};
struct Starting {
  Instant ready_by;
};
struct Ready {
  Instant since;
};

/// What follows a tree that has ended.
enum class Then : std::uint8_t { stop, restart, by_policy };
enum class Stage : std::uint8_t { term, kill, unkillable };
struct Ending {
  Then then = Then::stop;
  Stage stage = Stage::term;
  Instant began;
  Instant next;         ///< when the next stage is due
  bool forced = false;  ///< KILL was needed
};
struct Settling {
  Then then = Then::stop;
  Instant give_up;
  Instant began;
  bool forced = false;
};
struct BackingOff {
  Instant until;
};
struct Over {
  bool failed = false;
};

using State = std::variant<Idle, Starting, Ready, Ending, Settling, BackingOff, Over>;

// Events.
struct Begin {};
struct SpawnFailed {
  Reason reason;
};
struct ProbePassed {};
struct LivenessLost {  ///< a ready service shows no life any more
  Reason reason;
};
struct MainEnded {
  ExitStatus status;
};
struct TreeEmpty {};
struct MemorySeen {
  MemoryProof proof = MemoryProof::none;
};
struct StopAsked {
  std::chrono::milliseconds grace{0};
};
struct RestartAsked {
  std::chrono::milliseconds grace{0};
};
struct GivenUp {};  ///< someone else has the tree from now on; nothing is ended
struct Tick {};     ///< time passed; sent when deadline() has come

using Event = std::variant<Begin, SpawnFailed, ProbePassed, LivenessLost, MainEnded, TreeEmpty,
                           MemorySeen, StopAsked, RestartAsked, GivenUp, Tick>;

/// What the anchor has to do, in this order.
enum class Action : std::uint8_t {
  spawn,  ///< start the next generation of main
  probe,  ///< begin to ask whether it is ready
  stop_probing,
  watch,          ///< it is ready: begin to ask whether it lives
  note_tree,      ///< remember what the receipt needs: members, listening ports
  term_tree,      ///< TERM to every process of the tree
  kill_tree,      ///< freeze, kill, until empty
  prove_memory,   ///< ask whoever sees the GPU; answered by MemorySeen
  write_receipt,  ///< the tree is gone (or unkillable): say so, with proof
  finish,         ///< nothing is left to do: the anchor may exit
};

}  // namespace life

/// The rules a tree lives by; constant for its life.
struct LifePolicy {
  std::chrono::milliseconds ready_within{60'000};
  std::chrono::milliseconds grace{10'000};
  RestartPolicy restart = RestartPolicy::never;
  Backoff backoff;
  std::uint32_t jitter = 0;  ///< a random number of this anchor's; 0: none
};

/// One tree's life: the state, and the counts that outlive single states.
struct Life {
  life::State state;
  std::uint32_t generation = 0;  ///< of main; 1 is the first
  std::uint32_t failures = 0;    ///< in a row, for the back-off
  bool ever_ready = false;       ///< since the first start, or since the last restart by hand
  std::optional<ExitStatus> last_exit;
  Reason reason;  ///< why it is not running, empty while it is fine
};

using LifeActions = InlineVec<life::Action, 8>;

/// Applies @p event at @p now. An event that means nothing in the present state changes nothing.
LifeActions step(Life& life, const life::Event& event, const LifePolicy& policy, Instant now);

/// When step() wants a Tick; Instant::max() for never.
Instant deadline(const Life& life);

/// Is the tree ending, and nothing is to follow?
bool stops_for_good(const Life& life);
/// Is it ending to be started again because someone asked for that?
bool restarts_by_order(const Life& life);

/// The wait before restart number @p failures (1 = the first): first * 2^(n-1), at most max, less
/// up to a fifth that @p jitter chooses (0: nothing), so that services which fell together do not
/// all come back at once.
std::chrono::milliseconds backoff_delay(const Backoff& backoff, std::uint32_t failures,
                                        std::uint32_t jitter = 0);

/// "exited with code 3", "ended by signal 9 (killed)".
Reason describe(const ExitStatus& status);

}  // namespace gpuward
