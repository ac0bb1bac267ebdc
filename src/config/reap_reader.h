#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

namespace gpuward::config {

/// The table [reap] into @p rules.
void read_reap(const Entry& reap, Report& report, std::vector<StrangerRule>& rules);

/// The keys `idle_holder` and `reap` of a service.
class TableReader;
void read_holding(TableReader& service, ServiceModel& model);

}  // namespace gpuward::config
