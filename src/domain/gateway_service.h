#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "domain/anchor_state.h"
#include "domain/door.h"
#include "domain/service.h"

namespace gpuward {

/// The service of gpuward's own that stands in front of all that have a door.
inline constexpr std::string_view kGatewayService = "@gateway";

/// Where the gateway and the warden meet.
struct GatewayPlaces {
  std::string program;  ///< gpuward-gateway
  std::string control;  ///< its control socket
  std::string plan;     ///< the file that it begins with
};

/// @return absent when none of @p services has a door. Its anchor keeps one socket a door, so that
/// nobody is refused while the gateway itself starts again.
std::optional<ServiceModel> gateway_service(const std::vector<ServiceModel>& services,
                                            const GatewayPlaces& places);

/// What the gateway is told of one replica, by what its anchor says. @p plan and @p state are of
/// its last start.
DoorReplica door_replica(std::uint32_t index, const LaunchPlan& plan, const AnchorState& state,
                         bool lives);

}  // namespace gpuward
