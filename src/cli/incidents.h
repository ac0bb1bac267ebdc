#pragma once

#include "domain/report.h"

namespace gpuward::cli {

/// The lines that `status` and `ps` have on cards with incidents: at most one for each card and
/// number, the newest, and one where the kernel's log cannot be read although there are cards.
void print_incidents(const StatusReport& report);

}  // namespace gpuward::cli
