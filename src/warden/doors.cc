#include "warden/doors.h"

#include <cstdio>
#include <utility>

#include "os/clock.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace gpuward::warden {
namespace {

constexpr const char* kFolder = "/gateway";
constexpr const char* kControl = "control";
constexpr const char* kPlan = "plan";
constexpr auto kAskAgain = std::chrono::milliseconds(50);
/// A drain after which nothing was ended.
constexpr auto kForgetAfter = std::chrono::seconds(5);

void say(std::string_view what, const Error& error) {
  std::fprintf(stderr, "gpuwardd: %.*s: %s\n", static_cast<int>(what.size()), what.data(),
               error.message().c_str());
}

}  // namespace

Result<GatewayPlaces> gateway_places(const control::Home& home) {
  auto program = os::sibling_program("gpuward-gateway");
  if (!program) return fail(std::move(program).error());
  const std::string folder = home.run + kFolder;
  GPUWARD_TRY(os::make_directories(folder, 0700));
  return GatewayPlaces{.program = std::move(*program),
                       .control = folder + "/" + kControl,
                       .plan = folder + "/" + kPlan};
}

void Doors::configure(const std::vector<ServiceModel>& services) {
  models_.clear();
  for (const auto& service : services)
    if (service.door) models_.emplace(service.name, *service.door);
  look();
}

Door Doors::now(const std::string& service, const DoorModel& model) const {
  Door door{.service = service, .model = model, .replicas = {}};
  if (const auto* member = fleet_.find_member(service))
    door.replicas.push_back(door_replica(0, member->plan, member->state, member->alive));
  if (!door.replicas.empty() && drains_.contains(service) &&
      door.replicas[0].state == ReplicaState::ready)
    door.replicas[0].state = ReplicaState::draining;
  return door;
}

void Doors::look() {
  if (models_.empty() && told_.empty()) return;
  forget_ended(os::now());
  const auto* gateway = fleet_.find_member(std::string(kGatewayService));
  const bool runs = gateway != nullptr && gateway->alive && gateway->state.phase == Phase::ready;
  GatewayRequest changed{.what = GatewayRequest::What::doors};
  for (const auto& [service, model] : models_) {
    Door door = now(service, model);
    const auto before = told_.find(service);
    if (before != told_.end() && before->second == door) continue;
    told_.insert_or_assign(service, door);
    changed.doors.push_back(std::move(door));
  }
  std::vector<std::string> removed;
  for (const auto& [service, door] : told_)
    if (!models_.contains(service)) removed.push_back(service);
  for (const auto& service : removed) told_.erase(service);
  if (!changed.doors.empty() || !removed.empty()) write_plan();
  if (runs && !link_) return connect();  // tells everything
  for (const Door& door : changed.doors)
    tell({.what = GatewayRequest::What::doors, .doors = {door}});
  for (const auto& service : removed)
    tell({.what = GatewayRequest::What::remove, .service = service});
}

bool Doors::is_ready(const std::string& service) const {
  const auto* member = fleet_.find_member(service);
  return member != nullptr && member->alive && member->state.phase == Phase::ready;
}

// What was drained for has happened, or whoever ordered it has given up.
void Doors::forget_ended(Instant now) {
  std::erase_if(drains_, [&](const auto& entry) {
    return !is_ready(entry.first) || now > entry.second.by + kForgetAfter;
  });
}

bool Doors::drained(const std::string& service, std::chrono::milliseconds limit, Instant now) {
  if (!models_.contains(service) || !link_ || !is_ready(service)) return true;
  const auto [at, first] = drains_.try_emplace(service, Drain{.by = now + limit});
  if (first) {
    look();  // tells the gateway
    poll();
  }
  return at->second.empty || now >= at->second.by;
}

// The answer comes after what was told before it: a job that was given just before is counted.
void Doors::poll() {
  if (std::exchange(polls_, true)) return;
  tell({.what = GatewayRequest::What::status});
  poll_.expires_after(kAskAgain);
  poll_.async_wait([this](const boost::system::error_code& code) {
    polls_ = false;
    if (code) return;
    forget_ended(os::now());
    if (on_drained_) on_drained_();
    if (!drains_.empty() && link_) poll();
  });
}

void Doors::complete(StatusReport& report) const {
  for (auto& service : report.services)
    if (const auto at = models_.find(service.name); at != models_.end())
      service.listen = at->second.listen;
}

void Doors::write_plan() {
  std::vector<std::byte> all;
  std::vector<std::byte> room(wire::kMaxSmall + wire::kFrameHeader);
  for (const auto& [service, door] : told_) {
    const auto frame = wire::encode(DoorPlan{door}, room);
    if (!frame) {
      say("tell the gateway of '" + service + "'", frame.error());
      continue;
    }
    all.insert(all.end(), frame->begin(), frame->end());
  }
  auto folder = os::Fd::open(home_.run + kFolder, O_PATH | O_DIRECTORY);
  auto written = folder ? os::replace_file_at(*folder, kPlan, all, 0600)
                        : Result<void>(fail(std::move(folder).error()));
  if (!written) say("write the gateway's plan", written.error());
}

void Doors::connect() {
  auto folder = os::Fd::open(home_.run + kFolder, O_PATH | O_DIRECTORY);
  if (!folder) return say("find the gateway", folder.error());
  // By way of the descriptor: a socket's path may have 107 bytes. Never waits.
  const std::string path = "/proc/self/fd/" + std::to_string(folder->get()) + "/" + kControl;
  auto socket = os::start_connect_unix(path.c_str());
  if (!socket) return say("speak to the gateway", socket.error());
  auto link = Link::take(loop_, std::move(*socket), wire::kMaxSmall);
  if (!link) return say("speak to the gateway", link.error());
  link_ = std::move(*link);
  link_->start([this](const wire::Body& body) { hear(body); }, [this] { link_.reset(); });
  for (const auto& [service, door] : told_)
    tell({.what = GatewayRequest::What::doors, .doors = {door}});
}

void Doors::tell(const GatewayRequest& request) {
  if (!link_) return;
  if (auto sent = link_->send(request); !sent) say("speak to the gateway", sent.error());
}

void Doors::hear(const wire::Body& body) {
  const auto answer = wire::decode<GatewayAnswer>(body);
  if (!answer) return say("read the gateway's answer", answer.error());
  if (answer->exit_code != 0)
    std::fprintf(stderr, "gpuwardd: the gateway: %s\n", answer->error.c_str());
  for (const DoorReport& door : answer->doors) {
    const auto at = drains_.find(door.service);
    if (at == drains_.end() || door.in_flight != 0 || at->second.empty) continue;
    at->second.empty = true;
    if (on_drained_) on_drained_();
  }
}

}  // namespace gpuward::warden
