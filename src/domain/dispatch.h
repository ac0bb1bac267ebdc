#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "domain/emergency_share.h"
#include "domain/job.h"
#include "domain/limiter.h"
#include "domain/memory_gate.h"
#include "domain/queue.h"
#include "domain/service_times.h"
#include "domain/sessions.h"

namespace gpuward {

// clang-format off
// Who of one service goes in, where, and when. Pure: no system call, no thread; time is an argument, and
// what has to be done is returned. One object per service, used by one thread.
//
// A job:
//             arrive                pump: Start                      finish
//    (new) ----------> waiting ------------------> in flight at r ------------> gone, all is given back
//      | Refused          | ^                        |     |  ^
//      v                  | +--- give_back (retry) --+     |  | finish
//    gone <---------------+                                v  |
//           cancel, or pump: RefusedJob           its replica died: nothing is kept for it any more
//
// A replica:   down --ready--> ready --draining--> draining --down--> down, and any of them to down
//   ready      takes jobs, as many as its limiter and the memory gate let in
//   draining   takes none; its sessions are bound anew as they fall idle; drained() once none is in flight
//   down       its memory is free, its sessions are bound to none; the gateway is told which jobs it had
//
// - Every job that arrived ends in exactly one of: refused, cancelled while it waited, finished.
// - cancel() of a job in flight only notes it: the place is kept until the adapter says by finish() that the
//   replica has ended it (facts of each protocol).
// - Bound late: a job leaves the queue only when a replica can take it. Of several the one with the fewest
//   reserved bytes takes it, then the one with the fewest jobs.
// - Memory keeps the first in line from starting: smaller ones may pass it, but for two service times at
//   most; from then on nobody is let onto the card that it will have.
// - Without fresh samples the limits do not grow and nothing learned is forgotten.
// clang-format on

enum class ReplicaState : std::uint8_t { down, ready, draining };
std::string_view name(ReplicaState state);

struct DispatchSettings {
  QueueSettings queue;
  Limiter::Settings limiter;
  double emergency_share = 0.2;  ///< of what the replicas can do, over five minutes
};

struct ReplicaSample {
  HeldSample gpu{};
  HeldSample host{};
};

/// Give @p job to @p replica now.
struct Start {
  JobId job{};
  ReplicaId replica{};
};

struct Turn {
  std::vector<Start> start;
  std::vector<RefusedJob> refused;  ///< each client has to be told
  void clear() {
    start.clear();
    refused.clear();
  }
};

struct Arrival {
  std::vector<RefusedJob> displaced;  ///< each client has to be told
};

enum class Cancelled : std::uint8_t {
  unknown,
  waiting,    ///< gone, nothing else to do
  in_flight,  ///< tell the replica as its protocol can; finish() follows
};

struct ReplicaStatus {
  ReplicaState state = ReplicaState::down;
  std::uint32_t in_flight = 0;
  std::uint32_t limit = 1;
  Limiter::Why why = Limiter::Why::start;
  Bytes gpu_base{}, gpu_reserved{}, host_reserved{};
  bool memory_known = false;  ///< samples come
};

class Dispatcher {
 public:
  /// @p host is shared with the dispatchers of other services and outlives this one.
  Dispatcher(const DispatchSettings& settings, MemoryPool& host);
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  /// @p card outlives this; nullptr: it uses none. It is down until it is said to be ready. Once.
  void add_replica(ReplicaId replica, MemoryPool* card);
  void ready(ReplicaId replica, Instant now);
  void drain(ReplicaId replica, Instant now);
  /// Its processes are gone, and so is what they held.
  /// @return its jobs in flight: for each, finish() or give_back() has to follow.
  std::vector<JobId> down(ReplicaId replica, Instant now);
  bool drained(ReplicaId replica) const;
  void see(ReplicaId replica, const ReplicaSample& sample, Instant now);

  /// A job has come. @return who had to leave for it, or why it may not wait itself. Call pump()
  /// next.
  std::expected<Arrival, Refusal> arrive(const Job& job, Instant now);
  /// Its client has left.
  Cancelled cancel(JobId job, Instant now);
  /// The replica has ended it, or has gone. False: not in flight. Call pump() next (of all services
  /// on that card).
  bool finish(JobId job, JobEnd end, Instant now);
  /// The replica did not begin it (see may_retry()): it waits again, at its old place. False: not
  /// in flight, or its client has left; then finish() it.
  bool give_back(JobId job, Instant now);
  /// A session keeps state in its replica: it is not bound anew while it is held.
  void hold_session(std::uint64_t session, Instant now) { sessions_.hold(session, now); }
  void release_session(std::uint64_t session, Instant now);

  /// Whatever can be decided now is added to @p turn. Call it after each of the above, after
  /// MemoryPool::see(), and at next_due().
  void pump(Instant now, Turn& turn);
  Instant next_due() const { return queue_.next_due(); }
  /// Everybody who waits is refused: for the end of the service or the gateway.
  void refuse_all(RefusalReason reason, std::vector<RefusedJob>& refused, Instant now);

  /// Where @p job stands; absent when it does not wait.
  std::optional<Place> place(JobId job, Instant now) const;
  void for_each_place(Instant now, const std::function<void(JobId, const Place&)>& tell) const;
  /// Where @p session has to go, for exchanges that are no job (an upload, a file).
  std::optional<ReplicaId> bound(std::uint64_t session) const { return sessions_.bound(session); }
  std::size_t waiting() const { return queue_.size(); }
  std::size_t in_flight() const { return flights_.size(); }
  ReplicaStatus status(ReplicaId replica) const;
  const JobQueue& queue() const { return queue_; }
  const ServiceTimes& times() const { return times_; }

 private:
  struct Replica {
    Replica(ReplicaId its_id, MemoryPool& its_card, MemoryPool& its_host,
            Limiter::Settings settings)
        : id(its_id), limiter(settings), gpu(its_card), host(its_host) {}
    ReplicaId id;
    ReplicaState state = ReplicaState::down;
    Limiter limiter;
    ServiceTimes times;  ///< its own: another card may be slower
    MemoryAccount gpu;
    MemoryAccount host;
  };
  struct Flight {
    Ticket ticket;
    Replica* replica = nullptr;  ///< nullptr: it died, and the job is not told yet
    Instant began;
    Duration expected{};
    bool client_left = false;
    Reservation gpu;
    Reservation host;
  };
  /// Of one search for the next to start: who is kept by memory, and what must be left to it.
  struct Search {
    std::vector<Replica*> open;  ///< that could take one more
    const WaitingJob* head = nullptr;
    const MemoryPool* left_to_head = nullptr;
    std::uint32_t passed = 0;
    bool given_up = false;
  };

  Replica* find(ReplicaId replica) const;
  Pace pace(Instant now) const;
  static std::uint32_t lane_of(ReplicaId replica) { return replica.value + 1; }
  std::uint32_t lane_for(const Job& job);
  void move_session(std::uint64_t session, std::uint32_t lane);
  void session_ended_one(std::uint64_t session, Instant now);
  std::optional<Refusal> never_fits(const Job& job, Instant now) const;
  void find_open(Search& search) const;
  bool start_next(Instant now, Turn& turn);
  bool try_level(std::size_t level, Instant now, Turn& turn, Search& search);
  enum class Try : std::uint8_t { started, refused, doubted, kept };
  Try try_start(const WaitingJob& waiting, Instant now, Turn& turn, Search& search);
  bool try_replica(const WaitingJob& waiting, Replica& replica, Instant now, Turn& turn,
                   const MemoryPool*& full);
  void note_kept(const WaitingJob& waiting, const MemoryPool* full, Instant now, Search& search);
  bool one_is_for_emergencies(const Search& search) const;
  void tell_limiter(const Flight& flight, JobEnd end, Instant now);

  DispatchSettings settings_;
  MemoryPool& host_;
  MemoryPool no_card_;
  std::vector<std::unique_ptr<Replica>> replicas_;  ///< by their id; nullptr where there is none
  JobQueue queue_;
  ServiceTimes times_;
  Sessions sessions_;
  EmergencyShare emergencies_;
  std::unordered_map<std::uint64_t, Flight> flights_;
};

}  // namespace gpuward
