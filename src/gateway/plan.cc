#include "gateway/plan.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "control/channel.h"
#include "control/gateway_messages.h"
#include "domain/service.h"
#include "os/socket.h"

namespace gpuward::gateway {
namespace {

constexpr std::uint32_t kMostReplicas = 1024;

template <class E>
bool is_one_of(E value, E last) {
  return static_cast<unsigned>(value) <= static_cast<unsigned>(last);
}

bool sound_classes(const DoorModel& model) {
  return is_one_of(model.usual, JobClass::batch) &&
         std::ranges::all_of(model.routes, [](const ClassRoute& route) {
           return is_one_of(route.job_class, JobClass::batch);
         });
}

}  // namespace

std::optional<std::string> problem_of(const Door& door) {
  if (!is_service_name(door.service)) return "the name of a service is expected";
  const DoorModel& model = door.model;
  if (model.protocol == Protocol::none || !is_one_of(model.protocol, Protocol::comfyui))
    return "a protocol that this gateway does not know";
  if (!is_one_of(model.on_client_gone, OnClientGone::drain))
    return "an on_client_gone that this gateway does not know";
  if (!sound_classes(model)) return "a class of jobs that this gateway does not know";
  if (model.routes.size() > kMostClassRoutes) return "more than 64 classes by route";
  if (model.lost_after <= std::chrono::milliseconds(0)) return "client_lost_after is no time";
  if (model.patience <= std::chrono::milliseconds(0)) return "a patience that is no time";
  for (const DoorReplica& replica : door.replicas) {
    if (replica.index >= kMostReplicas) return "more than 1024 replicas";
    if (!is_one_of(replica.state, ReplicaState::draining))
      return "a replica in a state that this gateway does not know";
    const bool has_place = !replica.endpoint.empty() || replica.state != ReplicaState::down;
    if (has_place && !os::parse_tcp_address(replica.endpoint))
      return "'" + replica.endpoint + "' is no numeric address of a replica";
  }
  return std::nullopt;
}

Result<std::vector<Door>> read_plan(const os::Fd& file) {
  std::vector<Door> doors;
  control::FrameBuffer frames;
  off_t offset = 0;
  while (true) {
    const auto room = frames.room();
    const ssize_t count = ::pread(file.get(), room.data(), room.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(last_error("read the plan"));
    offset += count;
    frames.add(static_cast<std::size_t>(count));
    std::size_t found = 0;
    while (true) {
      const auto body = frames.next();
      if (!body) return fail(body.error());
      if (!*body) break;
      ++found;
      auto plan = wire::decode<DoorPlan>(**body);
      if (!plan) return fail(std::move(plan).error());
      doors.push_back(std::move(plan->door));
    }
    if (count == 0 && found == 0) break;
  }
  if (frames.holds_a_piece()) return fail(Errc::bad_message, "read the plan to its end");
  return doors;
}

}  // namespace gpuward::gateway
