#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "domain/event.h"

namespace gpuward {

/// May a service have a command that is run for @p kind? Not for what concerns gpuward as a whole,
/// nor for what hooks themselves do: one would call the next for ever.
bool may_have_hook(EventKind kind);
/// Every name that a hook may be written for: events as `gpuward events` names them, then the codes
/// of verdicts.
std::vector<std::string_view> hook_names();

/// What a hook is told. Holds no line of any log.
struct HookNews {
  std::string event;     ///< the name that the hook was written for
  std::string verdict;   ///< the code of now
  std::string sentence;  ///< for people
  std::int64_t at_unix_ms = 0;
};

/// Decides which news of one service a hook is run for. Pure: time is an argument, of one clock
/// that does not go back. What is kept is bounded by the number of names.
///
///   - One hook of a service runs at a time; what comes meanwhile waits, one of each name.
///   - The same name again within kSameWithin of its last run is counted, not run; the last of
///     them is run when that is over. What comes while one of its name waits is counted too. The
///     next run of that name is told how many were not run.
class HookQueue {
 public:
  static constexpr auto kSameWithin = std::chrono::seconds(60);

  struct Run {
    HookNews news;
    std::uint32_t counted = 0;  ///< news of the same name since its last run that were not run
  };

  /// @return whether it will be run; false: counted.
  bool add(HookNews news, Instant now);
  /// What is to be run now, if none runs; then one does until ended().
  std::optional<Run> next(Instant now);
  /// When next() has something that was kept back before; Instant::max() when nothing is, and
  /// while one runs: ask again when it has ended.
  Instant next_due() const;
  void ended() { running_ = false; }
  bool running() const { return running_; }
  /// Names that are not among @p names are forgotten: their hooks are gone.
  void keep_only(const std::vector<std::string>& names);

 private:
  struct Name {
    std::optional<Instant> last_run;
    std::optional<HookNews> waiting;
    std::optional<HookNews> kept_back;  ///< the last that was counted since the last run
    std::uint32_t counted = 0;          ///< since the last run, with the one that is kept back
  };
  std::map<std::string, Name> names_;
  std::deque<std::string> order_;  // of names with something waiting
  bool running_ = false;
};

}  // namespace gpuward
