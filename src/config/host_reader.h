#pragma once

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"

namespace gpuward::config {

/// Reads the table [host] into @p policy. @p origin: where its keys stand, by "host.NAME".
void read_host(const Entry& host, Report& report, Origin& origin, HostPolicy& policy);

}  // namespace gpuward::config
