#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/pid.h"
#include "domain/gpu.h"
#include "domain/service_facts.h"

namespace gpuward {

/// Which processes of a tree have, or had, a GPU context, by the driver's rows. Pure; feed it every
/// snapshot while one generation of main lives. Bounded: of very many, those without are forgotten.
class ContextHistory {
 public:
  static constexpr std::size_t kMostHolders = 256;
  /// A look that is older says nothing of now.
  static constexpr auto kFresh = std::chrono::seconds(3);

  /// Those that have, or had, a context: ask the kernel who of them lives on, after the look was
  /// taken and before see(). One that is listed still may have died since.
  std::vector<ProcessId> holders() const;
  /// @p pids  of the tree now. @p ended  of holders(), those that do not live any more. A look
  /// that shows nothing (see sight()) changes nothing but that.
  void see(const GpuSnapshot& snapshot, const std::set<std::uint32_t>& pids,
           const std::set<ProcessId>& ended);

  /// What @p snapshot lets one see of the cards that the tree works on; of all, before it has used
  /// any. @p detail may get a few words for people.
  CardSight sight(const GpuSnapshot& snapshot, Instant now, std::string* detail) const;

  const ContextFacts& facts() const { return facts_; }
  /// SM time of the tree in the second before the last look; none: cannot be told.
  std::optional<std::uint32_t> gpu_percent() const { return percent_; }
  /// When the first look was taken that it was fed: of what was before it knows nothing.
  std::optional<Instant> first_look() const { return first_look_; }
  /// Had @p pid a context that the last look does not list any more?
  bool has_lost(Pid pid) const;
  /// When a look last found @p pid on the GPU.
  std::optional<Instant> last_busy(Pid pid) const;
  /// Is nobody on any card, and was nobody of the tree so far? Then there is no need to ask for
  /// pids.
  bool untouched() const { return holders_.empty(); }

 private:
  struct Holder {
    Instant first_listed;
    std::optional<Instant> last_busy;
    bool listed = false;
  };
  struct Card {
    Bytes held;         ///< by the tree, when it was last listed there
    Bytes unexplained;  ///< at the same look
    bool listed = false;
  };
  void forget(const std::set<ProcessId>& ended);
  void see_card(const GpuDevice& device, const std::set<std::uint32_t>& pids, Instant at);
  void count(Instant at);

  std::map<ProcessId, Holder> holders_;
  std::map<std::string, Card> cards_;  ///< that it ever used, by uuid
  ContextFacts facts_;
  std::optional<Instant> first_look_;
  std::optional<std::uint32_t> percent_;
  std::uint32_t unpaired_ = 0;  ///< rows of the tree at the last look whose process is not certain
};

}  // namespace gpuward
