#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

namespace gpuward::config {

/// Reads the table [ledger] into @p policy. @p origin: where its keys stand, by "ledger.NAME".
void read_ledger(const Entry& ledger, Report& report, Origin& origin, LedgerPolicy& policy);

}  // namespace gpuward::config
