#pragma once

#include "config/table_reader.h"
#include "domain/service.h"

namespace gpuward::config {

/// Reads what gpuward may do by itself about @p service (`heal`, `heal_budget`) and the commands
/// that are run when something happens to it (`hooks`) into @p model.
void read_heal(TableReader& service, ServiceModel& model);

}  // namespace gpuward::config
