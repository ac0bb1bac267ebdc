#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/gateway_messages.h"
#include "domain/dispatch.h"
#include "domain/door.h"
#include "gateway/kept_body.h"
#include "gateway/replica.h"
#include "http/buffers.h"
#include "http/loop.h"

namespace gpuward::gateway {

class Client;

/// Whose job it is. What it does in these calls may end other jobs, and itself.
class JobOwner {
 public:
  virtual void start(ReplicaId replica) = 0;
  virtual void refused(const Refusal& refusal) = 0;
  /// By hand: `gpuward cancel`.
  virtual void cancelled_by_hand() = 0;
  virtual bool client_is_gone() const = 0;

 protected:
  ~JobOwner() = default;
};

/// What all services behind one gateway share. Outlives them.
struct Shared {
  http::Loop& loop;
  http::BufferPool buffers;
  BodyMemory body_memory;
  std::string spill_folder;
  MemoryPool host;
  std::map<std::string, std::unique_ptr<MemoryPool>> cards;  ///< by UUID
  std::uint64_t next_job = 1;
  std::uint64_t request_salt = 0;  ///< random, so that nobody guesses another's request id
  std::uint64_t requests = 0;
  /// Room that a job gave back may be for a job of another service.
  bool room_again = false;

  MemoryPool* card(const std::string& uuid);
};

/// One service behind the gateway: its door, its clients, its jobs and its replicas. Loop thread
/// only.
///
/// Clients are owned here. One that ends is only laid aside and destroyed after the turn of the
/// loop, so that whoever called it can return.
class Service final : public http::Handler {
 public:
  static constexpr std::size_t kMostClients = 20'000;

  /// @p door  sound (plan.h). Errors: as epoll_ctl(2).
  static Result<std::unique_ptr<Service>> open(Shared& shared, const Door& door, os::Fd listener);
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;
  ~Service();

  /// What is so now. The address it listens at does not change.
  void update(const Door& door);
  void drain(ReplicaId replica);
  /// Nobody new comes in, and who waits is told to go.
  void close_door();
  bool empty() const { return clients_.empty(); }

  /// To be called after every turn of the loop: decides who starts.
  void after_turn();
  Instant next_due() const { return dispatcher_.next_due(); }
  bool has_to_decide() const { return has_to_decide_; }
  void decide_soon() { has_to_decide_ = true; }

  // For those who own jobs.
  /// @return the job's id, which may start, or be refused, from the next decision on.
  std::expected<JobId, Refusal> arrive(JobOwner& owner, Job job);
  /// The client has left. True: it waited, and is forgotten; false: finish() has to follow.
  bool cancel(JobId job);
  void finish(JobId job, JobEnd end);
  /// It was not begun. False: it cannot wait again, finish() it.
  bool give_back(JobId job);
  Replica* replica(ReplicaId id);
  /// For what is no job: the least busy one that is ready.
  Replica* any_ready();
  bool has_ready() const;
  /// Nobody listens there: nothing more goes to it before it is found again.
  void not_reached(ReplicaId replica);

  // For clients.
  Shared& shared() { return shared_; }
  const DoorModel& model() const { return door_.model; }
  const std::string& name() const { return door_.service; }
  std::uint32_t route_number(std::string_view path);
  void lay_aside(Client& client);
  struct Counters {
    std::uint64_t done = 0, failed = 0, refused = 0, cancelled = 0, empty_answers = 0,
                  cut_off_answers = 0;
  };
  Counters& counters() { return counters_; }

  // For those who ask.
  void report_jobs(std::vector<JobReport>& jobs) const;
  DoorReport report() const;
  bool cancel_by_hand(JobId job);
  void see(const ReplicaSampleNews& sample);

  void on_ready(http::Ready ready) override;
  void on_deadline() override;

 private:
  struct OwnedJob {
    JobOwner* owner = nullptr;
    Job job;
    std::optional<ReplicaId> at;
  };

  Service(Shared& shared, const Door& door, os::Fd listener);
  void accept_some();
  void set_replica(const DoorReplica& replica);
  void carry_out(const Turn& turn);
  void tell_refused(const RefusedJob& refused);

  Shared& shared_;
  Door door_;
  os::Fd listener_;
  http::Loop::Watch watch_;
  Dispatcher dispatcher_;
  std::vector<std::unique_ptr<Replica>> replicas_;  ///< by their index; nullptr where there is none
  std::unordered_map<Client*, std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<Client>> laid_aside_;
  std::unordered_map<std::uint64_t, OwnedJob> jobs_;
  std::unordered_map<std::string, std::uint32_t> routes_;
  Turn turn_;
  Counters counters_;
  bool has_to_decide_ = false;
};

}  // namespace gpuward::gateway
