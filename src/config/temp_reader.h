#pragma once

#include "config/table_reader.h"
#include "domain/service.h"

namespace gpuward::config {

/// Reads `private_tmp`: true, false or a table.
void read_private_tmp(TableReader& service, ServiceModel& model);

}  // namespace gpuward::config
