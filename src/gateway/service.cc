#include "gateway/service.h"

#include <algorithm>

#include "gateway/client.h"
#include "gateway/sockets.h"
#include "os/clock.h"

namespace gpuward::gateway {
namespace {

constexpr int kAcceptedInOneTurn = 64;
constexpr Duration kAcceptAgain = std::chrono::milliseconds(100);
constexpr int kMostDecisions = 1000;
constexpr std::size_t kMostRoutes = 256;

DispatchSettings settings_of(const DoorModel& model) {
  DispatchSettings settings;
  settings.queue = model.queue;
  return settings;
}

}  // namespace

MemoryPool* Shared::card(const std::string& uuid) {
  if (uuid.empty()) return nullptr;
  auto& pool = cards[uuid];
  if (!pool) pool = std::make_unique<MemoryPool>();
  return pool.get();
}

Service::Service(Shared& shared, const Door& door, os::Fd listener)
    : shared_(shared),
      door_(door),
      listener_(std::move(listener)),
      dispatcher_(settings_of(door.model), shared.host) {}

Service::~Service() = default;

Result<std::unique_ptr<Service>> Service::open(Shared& shared, const Door& door, os::Fd listener) {
  std::unique_ptr<Service> service(new Service(shared, door, std::move(listener)));
  auto watch = shared.loop.watch(service->listener_, *service);
  if (!watch) return fail(std::move(watch).error());
  service->watch_ = std::move(*watch);
  service->update(door);
  return service;
}

void Service::update(const Door& door) {
  door_ = door;
  std::vector<bool> named(replicas_.size());
  for (const DoorReplica& replica : door.replicas) {
    set_replica(replica);
    if (replica.index < named.size()) named[replica.index] = true;
  }
  for (std::size_t n = 0; n < named.size(); ++n) {
    if (named[n] || !replicas_[n]) continue;
    DoorReplica gone = replicas_[n]->told();
    gone.state = ReplicaState::down;
    set_replica(gone);
  }
  decide_soon();
}

void Service::set_replica(const DoorReplica& news) {
  const ReplicaId id{news.index};
  if (news.index >= replicas_.size()) replicas_.resize(news.index + 1);
  auto& replica = replicas_[news.index];
  if (!replica) {
    replica = std::make_unique<Replica>(shared_.loop, id, [this, id] {
      if (replicas_[id.value]->state() == ReplicaState::ready) dispatcher_.ready(id, os::now());
      decide_soon();
    });
    dispatcher_.add_replica(id, shared_.card(news.card));
  }
  const bool another = replica->tell(news);
  const Instant now = os::now();
  // Whoever has a job there learns of it from the connection.
  if (another || replica->state() == ReplicaState::down) dispatcher_.down(id, now);
  if (replica->state() == ReplicaState::ready) dispatcher_.ready(id, now);
  if (replica->state() == ReplicaState::draining) {
    dispatcher_.ready(id, now);
    dispatcher_.drain(id, now);
  }
}

void Service::drain(ReplicaId id) {
  Replica* of = replica(id);
  if (of == nullptr || of->state() != ReplicaState::ready) return;
  DoorReplica news = of->told();
  news.state = ReplicaState::draining;
  set_replica(news);
}

void Service::close_door() {
  watch_.reset();
  listener_.close();
  std::vector<RefusedJob> refused;
  dispatcher_.refuse_all(RefusalReason::shutting_down, refused, os::now());
  for (const RefusedJob& job : refused) tell_refused(job);
  std::vector<Client*> all;
  all.reserve(clients_.size());
  for (const auto& [key, client] : clients_) all.push_back(key);
  for (Client* client : all) client->no_more_requests();
}

void Service::after_turn() {
  const Instant now = os::now();
  if (dispatcher_.next_due() <= now) has_to_decide_ = true;
  for (int n = 0; has_to_decide_ && n < kMostDecisions; ++n) {
    has_to_decide_ = false;
    turn_.clear();
    dispatcher_.pump(now, turn_);
    carry_out(turn_);
  }
  laid_aside_.clear();
}

void Service::carry_out(const Turn& turn) {
  for (const RefusedJob& refused : turn.refused) tell_refused(refused);
  for (const Start& start : turn.start) {
    const auto at = jobs_.find(start.job.value);
    if (at == jobs_.end()) {
      dispatcher_.finish(start.job, JobEnd::cancelled, os::now());
      continue;
    }
    at->second.at = start.replica;
    at->second.owner->start(start.replica);
  }
}

void Service::tell_refused(const RefusedJob& refused) {
  ++counters_.refused;
  const auto node = jobs_.extract(refused.id.value);
  if (!node.empty()) node.mapped().owner->refused(refused.refusal);
}

std::expected<JobId, Refusal> Service::arrive(JobOwner& owner, Job job) {
  job.id = JobId{shared_.next_job++};
  const Instant now = os::now();
  job.arrived = now;
  auto arrival = dispatcher_.arrive(job, now);
  if (!arrival) {
    ++counters_.refused;
    return std::unexpected(arrival.error());
  }
  jobs_.emplace(job.id.value, OwnedJob{.owner = &owner, .job = job, .at = std::nullopt});
  for (const RefusedJob& displaced : arrival->displaced) tell_refused(displaced);
  decide_soon();
  return job.id;
}

bool Service::cancel(JobId job) {
  const Cancelled was = dispatcher_.cancel(job, os::now());
  if (was == Cancelled::in_flight) return false;
  if (jobs_.erase(job.value) > 0) ++counters_.cancelled;
  decide_soon();
  return true;
}

void Service::finish(JobId job, JobEnd end) {
  if (jobs_.erase(job.value) == 0) return;
  dispatcher_.finish(job, end, os::now());
  if (end == JobEnd::done)
    ++counters_.done;
  else if (end == JobEnd::cancelled)
    ++counters_.cancelled;
  else
    ++counters_.failed;
  decide_soon();
  shared_.room_again = true;
}

bool Service::give_back(JobId job) {
  if (!dispatcher_.give_back(job, os::now())) return false;
  jobs_[job.value].at.reset();
  decide_soon();
  shared_.room_again = true;
  return true;
}

Replica* Service::replica(ReplicaId id) {
  return id.value < replicas_.size() ? replicas_[id.value].get() : nullptr;
}

Replica* Service::any_ready() {
  Replica* best = nullptr;
  for (const auto& replica : replicas_) {
    if (!replica || replica->state() != ReplicaState::ready) continue;
    if (best == nullptr || replica->exchanges < best->exchanges) best = replica.get();
  }
  return best;
}

bool Service::has_ready() const {
  return std::ranges::any_of(replicas_, [](const auto& replica) {
    return replica && replica->state() == ReplicaState::ready;
  });
}

void Service::not_reached(ReplicaId id) {
  Replica* lost = replica(id);
  if (lost == nullptr) return;
  lost->not_reached();
  dispatcher_.down(id, os::now());
  decide_soon();
}

std::uint32_t Service::route_number(std::string_view path) {
  const auto at = routes_.find(std::string(path));
  if (at != routes_.end()) return at->second;
  if (routes_.size() == kMostRoutes) return 0;
  const auto number = static_cast<std::uint32_t>(routes_.size() + 1);
  routes_.emplace(path, number);
  return number;
}

void Service::lay_aside(Client& client) {
  auto node = clients_.extract(&client);
  if (!node.empty()) laid_aside_.push_back(std::move(node.mapped()));
  if (watch_ && clients_.size() == kMostClients - 1) watch_.again();  // somebody waits
}

void Service::on_ready(http::Ready /*ready*/) {
  accept_some();
}

void Service::on_deadline() {
  accept_some();
}

void Service::accept_some() {
  for (int n = 0; n < kAcceptedInOneTurn; ++n) {
    if (clients_.size() >= kMostClients) return;  // they wait in the socket
    auto accepted = try_accept(listener_);
    if (!accepted) {
      watch_.set_deadline(shared_.loop.now() + kAcceptAgain);
      return;
    }
    if (!*accepted) return;
    tune_client((*accepted)->socket, door_.model.lost_after);
    auto client = std::make_unique<Client>(*this, std::move(**accepted));
    if (!client->begin()) continue;
    clients_.emplace(client.get(), std::move(client));
  }
  watch_.again();
}

void Service::report_jobs(std::vector<JobReport>& jobs) const {
  const Instant now = os::now();
  std::unordered_map<std::uint64_t, Place> places;
  dispatcher_.for_each_place(now, [&](JobId id, const Place& place) { places[id.value] = place; });
  using std::chrono::milliseconds;
  for (const auto& [id, owned] : jobs_) {
    JobReport report{.service = name(),
                     .id = id,
                     .job_class = owned.job.job_class,
                     .client_gone = owned.owner->client_is_gone(),
                     .age = std::chrono::duration_cast<milliseconds>(now - owned.job.arrived),
                     .size = owned.job.size};
    if (const auto place = places.find(id); place != places.end()) {
      report.waiting = true;
      report.rank = static_cast<std::uint32_t>(place->second.rank + 1);
      if (place->second.eta)
        report.eta = std::chrono::duration_cast<milliseconds>(*place->second.eta);
    } else if (owned.at) {
      report.replica = owned.at->value;
    }
    jobs.push_back(std::move(report));
  }
}

DoorReport Service::report() const {
  DoorReport report{.service = name(),
                    .waiting = dispatcher_.waiting(),
                    .in_flight = dispatcher_.in_flight(),
                    .clients = clients_.size(),
                    .done = counters_.done,
                    .failed = counters_.failed,
                    .refused = counters_.refused,
                    .cancelled = counters_.cancelled,
                    .empty_answers = counters_.empty_answers,
                    .cut_off_answers = counters_.cut_off_answers};
  for (const auto& replica : replicas_) {
    if (!replica) continue;
    const ReplicaStatus status = dispatcher_.status(replica->id());
    report.replicas.push_back({.index = replica->id().value,
                               .state = replica->state(),
                               .in_flight = status.in_flight,
                               .limit = status.limit,
                               .why = std::string(gpuward::name(status.why)),
                               .gpu_reserved = status.gpu_reserved,
                               .host_reserved = status.host_reserved});
  }
  return report;
}

bool Service::cancel_by_hand(JobId job) {
  const auto at = jobs_.find(job.value);
  if (at == jobs_.end()) return false;
  at->second.owner->cancelled_by_hand();
  return true;
}

void Service::see(const ReplicaSampleNews& sample) {
  const Instant now = os::now();
  // A time to come is none: what is known of it is that it has been.
  const Instant peak_at = std::min(Instant(std::chrono::nanoseconds(sample.peak_at_ns)), now);
  dispatcher_.see(
      {sample.replica},
      {.gpu = {.held = sample.gpu_held, .peak = sample.gpu_peak, .peak_at = peak_at},
       .host = {.held = sample.host_held, .peak = sample.host_peak, .peak_at = peak_at}},
      now);
  decide_soon();
}

}  // namespace gpuward::gateway
