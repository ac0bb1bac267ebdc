#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "domain/job.h"

namespace gpuward {

/// Which replica a session is bound to: where its first job starts. Who binds it anew has to ask
/// in_use() first. Bounded: of more than kMost sessions the longest unused is forgotten, and where
/// all are in use a new one is not bound.
class Sessions {
 public:
  static constexpr std::size_t kMost = 16384;
  static constexpr Duration kKeepIdle = std::chrono::minutes(10);

  std::optional<ReplicaId> bound(std::uint64_t session) const;
  /// It has a job in flight, or is held: there is state of it in its replica.
  bool in_use(std::uint64_t session) const;
  std::vector<JobId> waiting(std::uint64_t session) const;
  std::vector<std::uint64_t> of_replica(ReplicaId replica) const;

  void wait(std::uint64_t session, JobId job, Instant now);
  void wait_no_more(std::uint64_t session, JobId job);
  /// A job of it starts. True when this binds it.
  bool begin(std::uint64_t session, ReplicaId replica, Instant now);
  void end(std::uint64_t session, Instant now);
  void hold(std::uint64_t session, Instant now);
  void release(std::uint64_t session, Instant now);
  void unbind(std::uint64_t session);
  /// Those idle for kKeepIdle are forgotten.
  void pass_time(Instant now);
  std::size_t size() const { return sessions_.size(); }

 private:
  struct Session {
    std::optional<ReplicaId> replica;
    std::vector<JobId> waiting;
    std::uint32_t in_flight = 0;
    std::uint32_t holds = 0;
    Instant used;
    bool in_use() const { return in_flight > 0 || holds > 0; }
    bool idle() const { return waiting.empty() && !in_use(); }
  };
  Session* get(std::uint64_t session, Instant now);
  std::unordered_map<std::uint64_t, Session> sessions_;
  Instant swept_{};
};

}  // namespace gpuward
