#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "domain/card.h"

// cordon, uncordon, drain: whether a card may be used.

namespace gpuward::cli {

/// 1 where there is no such card, 5 without a warden.
int cordon(const std::string& gpu, const std::string& why, bool as_json);
int uncordon(const std::string& gpu, bool as_json);

struct DrainOptions {
  std::string gpu;
  std::string why;
  std::optional<std::chrono::milliseconds> timeout;
  bool dry_run = false;  ///< only says who is on the card
  bool json = false;
};
/// 0 when nothing is on the card any more; 4 when somebody still is, or that cannot be seen; else
/// as `stop`.
int drain(const DrainOptions& options);

/// The marks that the warden has kept; none where there are none or they cannot be read. For who
/// looks at the cards without a warden.
std::vector<CardMark> kept_marks(const std::string& path);
/// ", cordoned by uid 0: driver update", for the end of a line about the card; empty for a free
/// one.
std::string mark_text(const std::vector<CardMark>& marks, const std::string& uuid);

}  // namespace gpuward::cli
