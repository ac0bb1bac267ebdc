#pragma once

#include <functional>

#include "domain/door.h"
#include "gateway/upstream.h"
#include "http/loop.h"

namespace gpuward::gateway {

/// One replica: the connections to it, and whether it can be reached. What the warden says of it
/// counts, except that nobody is sent where nobody listens: until a connection is taken there again
/// it is left out.
class Replica final : public http::Handler {
 public:
  /// @p on_found  called when one that was not reached is reached again.
  Replica(http::Loop& loop, ReplicaId id, std::function<void()> on_found)
      : loop_(loop), id_(id), on_found_(std::move(on_found)) {}
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  ReplicaId id() const { return id_; }
  const DoorReplica& told() const { return told_; }
  /// True when it is another process than before: nothing of the old one is left to use.
  bool tell(const DoorReplica& news);
  /// As told, unless it cannot be reached.
  ReplicaState state() const { return lost_ ? ReplicaState::down : told_.state; }

  /// Errors: as UpstreamPool::take.
  Result<std::unique_ptr<Upstream>> connect(UpstreamUser& user);
  void put_back(std::unique_ptr<Upstream> upstream);
  void not_reached();

  std::uint32_t exchanges = 0;  ///< that are under way, jobs and others

  void on_ready(http::Ready ready) override;
  void on_deadline() override;

 private:
  static constexpr Duration kFirstTry = std::chrono::milliseconds(20);
  static constexpr Duration kLastTry = std::chrono::milliseconds(500);
  void try_soon();

  http::Loop& loop_;
  ReplicaId id_;
  std::function<void()> on_found_;
  DoorReplica told_;
  /// The last one is used; those before it may still have connections out.
  std::vector<std::unique_ptr<UpstreamPool>> pools_;
  bool lost_ = false;
  Duration pause_ = kFirstTry;
  os::Fd trial_;
  http::Loop::Watch watch_;
};

}  // namespace gpuward::gateway
