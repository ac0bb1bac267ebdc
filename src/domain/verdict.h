#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/units.h"
#include "domain/anchor_state.h"

namespace gpuward {

/// What gpuward says of a service. The human sentence comes first, the code in brackets. The
/// numbers travel and never change meaning.
enum class Verdict : std::uint8_t {
  stopped = 0,
  starting = 1,
  healthy = 2,
  draining = 3,
  backing_off = 4,
  failed = 5,
  unkillable = 6,
  loading = 7,  ///< not ready yet, and it has a GPU context already
  paused = 8,   ///< held on purpose, by a lease
  parked = 9,   ///< its GPU memory was taken from it on purpose
  // The sick ones. "Cannot see" is none of them.
  ghost_nocontext = 10,  ///< it had a GPU context, has none, and is wanted
  ghost_sticky = 11,     ///< its context is listed, but poisoned
  stalled = 12,          ///< it is wanted and nothing at all moves
  spinning = 13,         ///< the GPU is busy and nothing is in flight
  answers_changed = 14,  ///< a known question got another answer than it used to
  gpu_lost = 15,         ///< the card that it works on is gone for good until it is mended
};
/// "HEALTHY": a contract of the JSON output.
std::string_view to_string(Verdict verdict);
/// Does somebody have to look after it?
bool is_sick(Verdict verdict);

/// What is to be done about a verdict, one for each. It names the service itself or its card, never
/// another process. The numbers travel and never change meaning.
enum class Action : std::uint8_t {
  none = 0,
  watch = 1,            ///< the facts are on the turn, or one witness speaks alone
  restart = 2,          ///< its tree, once, with proof of its end
  look_into = 3,        ///< a person, or a policy, before anything is ended
  check_answers = 4,    ///< by hand; nothing is restarted for it
  mend_gpu = 5,         ///< reset, reboot or replacement; a restart would only fail again
  keep_running = 6,     ///< what runs works; a new process could not use the GPU
  wait_for_kernel = 7,  ///< processes in D cannot be ended by anybody
};
/// "restart": a contract of the JSON output.
std::string_view to_string(Action action);
/// The action as a sentence for people; empty for none.
std::string_view describe(Action action);

/// A fact that a verdict stands on.
struct Evidence {
  std::string what;   ///< "readiness"
  std::string value;  ///< "GET /config answered 200"
  double age_seconds = 0;
};

/// The verdict on one tree from what its anchor says alone. Pure.
Verdict judge(const AnchorState& state);
/// One sentence on it for people: "runs since 4 min, ready by GET /config".
std::string sentence_on(const AnchorState& state, Verdict verdict, Instant now);

}  // namespace gpuward
