#pragma once

#include <string>
#include <string_view>

#include "config/config.h"
#include "config/report.h"
#include "config/tree.h"
#include "domain/service.h"

namespace gpuward::config {

/// One [service.NAME] as far as it could be read.
struct Draft {
  ServiceModel model;
  Origin origin;
  bool sound = false;  ///< nothing was added to the report
};

Draft read_service(const Entry& service, Report& report, const Resolver& resolver);

}  // namespace gpuward::config
