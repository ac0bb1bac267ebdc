#include "gateway/gateway.h"

#include <sys/random.h>

#include <algorithm>
#include <ctime>

#include "gateway/client.h"
#include "gateway/plan.h"
#include "os/clock.h"

namespace gpuward::gateway {
namespace {

/// Ids of jobs are not used again by the next gateway: those of a second begin a million further.
std::uint64_t first_job() {
  constexpr std::uint64_t kEpoch = 1'700'000'000;
  const auto now = static_cast<std::uint64_t>(std::time(nullptr));
  return ((now > kEpoch ? now - kEpoch : 0) << 20U) + 1;
}

std::uint64_t random_salt() {
  std::uint64_t salt = 0;
  if (::getrandom(&salt, sizeof salt, 0) != sizeof salt)
    salt = static_cast<std::uint64_t>(os::now().time_since_epoch().count());
  return salt;
}

}  // namespace

Gateway::Gateway(std::unique_ptr<http::Loop> loop, std::string spill_folder)
    : loop_(std::move(loop)),
      shared_{.loop = *loop_,
              .buffers = {},
              .body_memory = {},
              .spill_folder = std::move(spill_folder),
              .host = {},
              .cards = {},
              .next_job = first_job(),
              .request_salt = random_salt()} {}

Gateway::~Gateway() = default;

Result<std::unique_ptr<Gateway>> Gateway::make(std::string spill_folder) {
  auto loop = http::Loop::make();
  if (!loop) return fail(std::move(loop).error());
  return std::unique_ptr<Gateway>(new Gateway(std::move(*loop), std::move(spill_folder)));
}

void Gateway::add_socket(const std::string& service, os::Fd listener) {
  sockets_[service] = std::move(listener);
}

Result<void> Gateway::listen_for_orders(os::Fd listener) {
  auto control = ControlDoor::open(*this, std::move(listener));
  if (!control) return fail(std::move(control).error());
  control_ = std::move(*control);
  return {};
}

Result<void> Gateway::set_door(const Door& door) {
  if (const auto problem = problem_of(door)) return fail(Errc::invalid, *problem);
  if (const auto at = services_.find(door.service); at != services_.end()) {
    at->second->update(door);
    return {};
  }
  const auto socket = sockets_.find(door.service);
  if (socket == sockets_.end())
    return fail(Errc::not_found, "find the socket of '" + door.service + "'");
  auto listener = socket->second.duplicate();
  if (!listener) return fail(std::move(listener).error());
  auto service = Service::open(shared_, door, std::move(*listener));
  if (!service) return fail(std::move(service).error());
  services_.emplace(door.service, std::move(*service));
  return {};
}

GatewayAnswer Gateway::carry_out(const GatewayRequest& request) {
  GatewayAnswer answer;
  const auto refuse = [&](std::string why) {
    answer.exit_code = 1;
    answer.error = std::move(why);
  };
  const auto service = services_.find(request.service);
  switch (request.what) {
    case GatewayRequest::What::doors:
      for (const Door& door : request.doors)
        if (auto set = set_door(door); !set) refuse(set.error().message());
      break;
    case GatewayRequest::What::remove:
      if (service == services_.end()) break;
      service->second->close_door();
      closed_.push_back(std::move(service->second));
      services_.erase(service);
      break;
    case GatewayRequest::What::jobs:
      if (!request.service.empty() && service == services_.end())
        refuse("no door is open for '" + request.service + "'");
      for (const auto& [name, one] : services_)
        if (request.service.empty() || name == request.service) one->report_jobs(answer.jobs);
      break;
    case GatewayRequest::What::cancel:
      if (!cancel({request.job})) refuse("there is no job " + std::to_string(request.job));
      break;
    case GatewayRequest::What::status:
      for (const auto& [name, one] : services_) answer.doors.push_back(one->report());
      break;
    case GatewayRequest::What::samples:
      see(request);
      break;
    case GatewayRequest::What::drain:
      if (service == services_.end())
        refuse("no door is open for '" + request.service + "'");
      else
        service->second->drain({request.replica});
      break;
    default:
      refuse("a request that this gateway does not know");
  }
  return answer;
}

void Gateway::see(const GatewayRequest& samples) {
  for (const PoolSampleNews& pool : samples.pools) {
    MemoryPool* of = pool.card.empty() ? &shared_.host : shared_.card(pool.card);
    of->see(pool.total, pool.others);
  }
  for (const ReplicaSampleNews& sample : samples.replicas)
    if (const auto at = services_.find(sample.service); at != services_.end())
      at->second->see(sample);
  shared_.room_again = true;
}

bool Gateway::cancel(JobId job) {
  return std::ranges::any_of(services_,
                             [&](const auto& entry) { return entry.second->cancel_by_hand(job); });
}

Result<void> Gateway::run() {
  while (!stopping_ || (!all_empty() && os::now() < stop_by_)) {
    after_turn();
    const Instant due = std::min(next_due(), stopping_ ? stop_by_ : Instant::max());
    std::optional<Duration> at_most;
    if (due != Instant::max()) at_most = std::max(due - os::now(), Duration{});
    GPUWARD_TRY(loop_->turn(at_most));
  }
  after_turn();
  return {};
}

void Gateway::after_turn() {
  for (const auto& [name, service] : services_) service->after_turn();
  // What one service gave back may let in a job of another that uses the same memory.
  if (std::exchange(shared_.room_again, false) && services_.size() > 1) {
    for (const auto& [name, service] : services_) {
      service->decide_soon();
      service->after_turn();
    }
    shared_.room_again = false;
  }
  for (const auto& service : closed_) service->after_turn();
  std::erase_if(closed_, [](const auto& service) { return service->empty(); });
}

Instant Gateway::next_due() const {
  Instant due = Instant::max();
  for (const auto& [name, service] : services_) {
    if (service->has_to_decide()) return Instant{};
    due = std::min(due, service->next_due());
  }
  return due;
}

void Gateway::stop(Duration grace) {
  stopping_ = true;
  stop_by_ = os::now() + grace;
  for (const auto& [name, service] : services_) service->close_door();
}

bool Gateway::all_empty() const {
  return closed_.empty() &&
         std::ranges::all_of(services_, [](const auto& entry) { return entry.second->empty(); });
}

}  // namespace gpuward::gateway
