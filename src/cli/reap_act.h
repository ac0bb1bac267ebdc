#pragma once

#include <vector>

#include "cli/holder_look.h"
#include "control/home.h"
#include "domain/reap.h"
#include "domain/report.h"

namespace gpuward::cli {

/// Ends @p items, which @p look has just shown: ORPHANs as `stop` ends their tree, the others one
/// by one, each held by a pidfd, looked at once more, written into the ledger and taken down the
/// ladder. Appends a receipt for each tree or process with the bytes that are back, proven by looks
/// at the cards. Says on standard error what was refused or is not proven. @return the exit code.
int end_holders(const control::Home& home, const HolderLook& look,
                const std::vector<ReapItem>& items, std::vector<NamedReceipt>* receipts);

}  // namespace gpuward::cli
