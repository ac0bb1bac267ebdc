#pragma once

#include "config/table_reader.h"
#include "domain/service.h"

namespace gpuward::config {

/// Reads what the gateway does in front of @p service (`listen`, `protocol`, `queue`, `client`,
/// `on_client_gone`) into @p model, after its command and `ready`: the gateway has to know where
/// the service itself listens.
void read_door(TableReader& service, ServiceModel& model);

}  // namespace gpuward::config
