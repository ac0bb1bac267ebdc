#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "base/units.h"
#include "domain/gpu.h"

namespace gpuward::cli {

/// How busy each card was at the last looks of `status --watch`, one column a look.
class CardCurves {
 public:
  static constexpr std::size_t kColumns = 60;

  /// A look that is no newer than the last one of a card adds a column too: time goes on.
  void add(const GpuSnapshot& snapshot);
  /// The newest at the right; a blank where the card was not seen or does not tell. Empty for a
  /// card that was never seen.
  std::string of(const std::string& uuid) const;

 private:
  using Column = std::optional<double>;
  std::map<std::string, std::deque<Column>> cards_;
};

}  // namespace gpuward::cli
