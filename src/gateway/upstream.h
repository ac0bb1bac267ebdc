#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "http/loop.h"
#include "os/fd.h"
#include "os/socket.h"

namespace gpuward::gateway {

/// Whoever uses a connection to a replica is told what happens to it. It may give it up in the
/// call.
class UpstreamUser {
 public:
  virtual void on_upstream(http::Ready ready) = 0;

 protected:
  ~UpstreamUser() = default;
};

class UpstreamPool;

/// One connection to a replica: somebody's, or idle in its pool.
class Upstream final : public http::Handler {
 public:
  explicit Upstream(UpstreamPool& pool);
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;
  ~Upstream();
  const os::Fd& socket() const { return socket_; }
  UpstreamPool& pool() const { return pool_; }
  /// It has answered somebody before: it may close just as the next request is sent.
  bool used_before() const { return used_before_; }
  /// The replica will send no more.
  bool peer_closed() const { return peer_closed_; }

  void on_ready(http::Ready ready) override;
  void on_deadline() override;

 private:
  friend class UpstreamPool;
  UpstreamPool& pool_;
  UpstreamUser* user_ = nullptr;  ///< nullptr: idle
  os::Fd socket_;
  http::Loop::Watch watch_;  // goes before its descriptor
  bool used_before_ = false;
  bool peer_closed_ = false;
};

/// The connections to one replica. Outlives them all.
class UpstreamPool {
 public:
  /// Servers close what idles after 2 s (gunicorn) or 5 s (uvicorn, node): so much earlier that
  /// none of them does it just as a request is sent.
  static constexpr Duration kIdle = std::chrono::seconds(1);
  static constexpr std::size_t kMostIdle = 256;

  UpstreamPool(http::Loop& loop, os::TcpAddress address) : loop_(loop), address_(address) {}
  UpstreamPool(const UpstreamPool&) = delete;
  UpstreamPool& operator=(const UpstreamPool&) = delete;

  /// An idle connection, or one that is being made. Errors: as socket(2) and connect(2).
  Result<std::unique_ptr<Upstream>> take(UpstreamUser& user);
  /// It has answered, and nothing of the answer is left in it.
  void put_back(std::unique_ptr<Upstream> upstream);
  /// For a process that has gone.
  void close_idle() { idle_.clear(); }
  std::size_t idle() const { return idle_.size(); }
  /// Idle or in use.
  std::size_t connections() const { return connections_; }

 private:
  friend class Upstream;
  void drop(const Upstream& upstream);

  http::Loop& loop_;
  os::TcpAddress address_;
  std::size_t connections_ = 0;
  std::vector<std::unique_ptr<Upstream>> idle_;  ///< the last one used is used next
};

}  // namespace gpuward::gateway
