#include "domain/gateway_service.h"

namespace gpuward {
namespace {

/// After TERM it gives what is under way 30 s to end.
constexpr std::chrono::seconds kGrace{40};

std::string endpoint_of(const LaunchPlan& plan) {
  const bool asked = plan.ready.kind == ReadyKind::http || plan.ready.kind == ReadyKind::tcp;
  if (asked && !plan.ready.address.empty()) return plan.ready.address;
  return plan.port != 0 ? "127.0.0.1:" + std::to_string(plan.port) : std::string();
}

ReplicaState state_of(Phase phase) {
  switch (phase) {
    case Phase::ready:
      return ReplicaState::ready;
    case Phase::ending:
      return ReplicaState::draining;
    default:
      return ReplicaState::down;
  }
}

}  // namespace

std::optional<ServiceModel> gateway_service(const std::vector<ServiceModel>& services,
                                            const GatewayPlaces& places) {
  ServiceModel model;
  for (const ServiceModel& service : services)
    if (service.door) model.sockets.push_back({service.name, service.door->listen});
  if (model.sockets.empty()) return std::nullopt;
  model.sockets.push_back({"control", "unix:" + places.control});
  model.files.push_back({"plan", places.plan});
  model.name = kGatewayService;
  model.command = {places.program};
  model.restart = RestartPolicy::always;
  model.grace = kGrace;
  model.ready.kind = ReadyKind::notify;
  model.rights.no_new_privileges = true;
  model.private_tmp = true;  // uploads that wait, encrypted
  return model;
}

DoorReplica door_replica(std::uint32_t index, const LaunchPlan& plan, const AnchorState& state,
                         bool lives) {
  const std::string endpoint = endpoint_of(plan);
  const bool usable = lives && !endpoint.empty();
  return {.index = index,
          .endpoint = endpoint,
          .state = usable ? state_of(state.phase) : ReplicaState::down,
          .card = {}};
}

}  // namespace gpuward
