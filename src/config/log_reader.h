#pragma once

#include "config/table_reader.h"
#include "domain/service.h"

namespace gpuward::config {

/// Reads the table `log` of @p service, if written, into @p log.
void read_log(TableReader& service, LogPolicy& log);

}  // namespace gpuward::config
