#pragma once

#include <functional>
#include <vector>

#include "cli/holder_look.h"
#include "control/home.h"
#include "domain/reap.h"
#include "domain/report.h"

namespace gpuward::cli {

/// A look, and what it means for what was ordered.
struct ReapLook {
  HolderLook look;
  std::vector<ReapItem> items;
};

/// Ends @p shown: ORPHANs service by service as `stop` ends their tree, the others one by one, each
/// held by a pidfd, written into the ledger and taken down the ladder. Since one end may take
/// minutes, @p look_now is asked before each of them, and who is not there any more, or is
/// something else by then, is left alone. Appends a receipt for each tree or process with the bytes
/// that are back, proven by looks at the cards. Says on standard error what was refused or is not
/// proven. @return the exit code.
int end_holders(const control::Home& home, const std::vector<ReapItem>& shown,
                const std::function<ReapLook()>& look_now, std::vector<NamedReceipt>* receipts);

}  // namespace gpuward::cli
