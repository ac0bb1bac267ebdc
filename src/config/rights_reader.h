#pragma once

#include "config/table_reader.h"
#include "domain/rights.h"

namespace gpuward::config {

/// Reads as whom @p service runs and what it may do: `user`, `groups`, `umask`, `limits`, `caps`,
/// `no_new_privs`, `oom_score_adj` and `nice`.
void read_rights(TableReader& service, Rights& rights);

/// Reads `cpu_weight` and `memory_max`.
void read_tree_limits(TableReader& service, TreeLimits& limits);

}  // namespace gpuward::config
