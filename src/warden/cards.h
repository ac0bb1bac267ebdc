#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "control/home.h"
#include "control/messages.h"
#include "domain/card.h"
#include "warden/clerk.h"

namespace gpuward::warden {

/// Which cards may be used, and what is on them: the marks that people and rules set, kept in the
/// state folder, over the latest look. Ends no process. Loop thread only.
class Cards {
 public:
  Cards(std::string path, Clerk& clerk) : path_(std::move(path)), clerk_(clerk) {}

  /// Reads what was kept. Ends quarantines of an earlier boot where a boot mends them. A damaged
  /// file is set aside, which the ledger says.
  void open();

  /// The latest look. What the driver says of a card for as long as kPatience quarantines it.
  void see(const GpuSnapshot& snapshot, Instant now);
  /// The same by another rule, as the kernel log's. For a card that is seen.
  void quarantine(const std::string& uuid, const CardFinding& finding);
  /// The same by all that the kernel's log told of it in this boot, whenever that was, but not by
  /// what a person has called well since.
  void hear(const std::string& uuid, std::span<const XidIncident> heard);

  /// @p service, whose process is made of @p mark, holds memory on @p uuids now.
  void is_on(const std::string& service, std::uint64_t mark, const std::set<std::string>& uuids);

  /// The card that @p text names, among those of the latest look; one that is not seen any more is
  /// known by its UUID as long as it has a mark.
  Result<GpuDevice> choose(const std::string& text) const;
  /// Errors: as write_book(); then nothing has changed.
  Result<void> cordon(const GpuDevice& card, const std::string& by, const std::string& why,
                      bool drained);
  /// Ends a quarantine too: a person says that the card is well. Where the driver still says
  /// otherwise it is quarantined again, for the same remedy: the trouble did not come back.
  Result<void> uncordon(const GpuDevice& card);

  std::optional<std::string> why_not_started(const std::string& service, std::uint64_t mark,
                                             bool obeys_rules) const {
    return gpuward::why_not_started(book_, service, mark, obeys_rules);
  }
  /// Is any of @p uuids out of use?
  bool out_of_use(const std::set<std::string>& uuids) const;
  const std::vector<CardMark>& marks() const { return book_.marks; }
  CardMark mark_of(const GpuDevice& card) const;

 private:
  static constexpr auto kPatience = std::chrono::seconds(3);
  Result<void> keep(CardBook next);
  void keep_or_say(CardBook next);
  void note_gone(const GpuSnapshot& snapshot) const;

  Result<void> write(const CardBook& next);

  std::string path_;
  bool unread_ = false;  // a book lies there that could not be read
  Clerk& clerk_;
  std::string boot_;
  CardBook book_;
  GpuSnapshot look_;  // the latest, of each card only what it is and how it is
  struct Trouble {
    CardRemedy remedy = CardRemedy::none;
    Instant since;
  };
  std::map<std::string, Trouble> troubles_;  // by uuid, of the latest look
  // Seen well, or booted anew, since they were last quarantined: what they have now came back.
  std::set<std::string> mended_;
};

}  // namespace gpuward::warden
