#pragma once

#include <string>
#include <string_view>

#include "base/units.h"
#include "domain/report.h"

namespace gpuward {

/// Everything that `status` and `ps` say in numbers, in Prometheus' text format 0.0.4. Names, units
/// and what absence means: docs/metrics.md. A value that is not known is left out, never 0. Texts
/// of services, commands and users are not told (harm.md 11): names of services and cards are.
/// @param version  of the program that tells
std::string metrics_text(const StatusReport& report, std::string_view version, Instant now);

}  // namespace gpuward
