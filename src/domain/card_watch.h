#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/units.h"
#include "domain/gpu.h"

namespace gpuward {

/// What is known of the cards when some of them hang whoever asks about them. A first sentinel
/// looks at all cards. When it hangs in a call about one, that card is a suspect: another sentinel
/// is started that leaves it out, and now and then a third is sent to ask about it alone. Here is
/// who has to look at what, and what all of them together have seen. Makes no call; time is an
/// argument.
///
/// States of a card: well (the main sentinel looks at it); suspect (left out, its last numbers are
/// kept, a try is due at `retry_at`); tried (a sentinel of its own looks at it). A try that ends
/// well makes it well and lets the main sentinel be started anew; so does one that is told of no
/// such card: it was taken out, and is known no more. One that does not end makes it a suspect
/// again, for twice as long.
class CardWatch {
 public:
  static constexpr std::chrono::seconds kFirstPause{5};
  static constexpr std::chrono::seconds kLongestPause{300};
  static constexpr std::size_t kMostSuspects = 256;

  /// A snapshot of the main sentinel. @return true when it hangs: it must be replaced by one that
  /// leaves out() out.
  bool see(GpuSnapshot snapshot, Instant now);
  /// The main sentinel has gone, or cannot be started: what it saw last gets old.
  void lose_sight(std::string why, Instant now);

  /// Cards that the main sentinel must make no call about, in order.
  std::vector<std::uint32_t> out() const;
  /// A card that may be tried now. At most one is tried at a time.
  std::optional<std::uint32_t> due(Instant now) const;
  /// When due() has an answer next; Instant::max() when never.
  Instant next_due() const;
  void begin_try(std::uint32_t card);
  /// What the sentinel that was sent to look at @p card alone has seen; nullopt: nothing in time.
  /// @return true when the card is well again, or gone: the main sentinel must be started anew.
  bool end_try(std::uint32_t card, const std::optional<GpuSnapshot>& seen, Instant now);

  /// All cards, those left out with their last numbers.
  GpuSnapshot merged() const;

 private:
  struct Suspect {
    GpuDevice last;
    Instant retry_at;
    std::chrono::seconds pause{kFirstPause};
    bool tried = false;
  };
  void suspect(const GpuDevice& device, Instant now);
  void forget_gone(const GpuSnapshot& snapshot);
  void remember_unread(GpuSnapshot& snapshot, bool all_suspect) const;

  GpuSnapshot main_;
  std::map<std::uint32_t, GpuDevice> last_good_;
  std::map<std::uint32_t, Suspect> suspects_;
};

}  // namespace gpuward
