#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/anchors.h"
#include "domain/event.h"

namespace gpuward::control {

/// Reads what anchors have written into their journals since the last time. Each entry is given at
/// least once: whoever takes them tells them apart by origin and number.
class JournalReader {
 public:
  /// Empty where there is nothing new, no journal, or one that cannot be read as one.
  std::vector<LedgerEntry> news_of(const AnchorFolder& folder);

 private:
  struct Mark {
    std::uint64_t inode = 0;
    std::uint64_t offset = 0;  // of the first byte that was not read
  };
  std::map<std::string, Mark> marks_;  // by folder
};

/// A journal's @p entry as one of the ledger. Made by an anchor of @p folder.
LedgerEntry ledger_entry(const AnchorFolder& folder, const JournalEntry& entry);

}  // namespace gpuward::control
