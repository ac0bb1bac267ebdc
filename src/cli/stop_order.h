#pragma once

#include <string>
#include <vector>

#include "control/anchors.h"
#include "domain/order.h"

// Without a warden nobody has read the configuration: what stops before what is known from the
// records, as it was written when each service was last started.

namespace gpuward::cli {

StartLinks recorded_links(const std::vector<control::AnchorFolder>& folders);

/// The living services that require @p name and are not among @p named.
std::vector<std::string> left_without(const StartLinks& links,
                                      const std::vector<control::AnchorFolder>& folders,
                                      const std::string& name,
                                      const std::vector<std::string>& named);

}  // namespace gpuward::cli
