#pragma once

#include <memory>
#include <vector>

#include "control/channel.h"
#include "control/gateway_messages.h"
#include "http/loop.h"
#include "os/fd.h"

namespace gpuward::gateway {

class Gateway;

/// Where the warden and `gpuward jobs` talk to this gateway. Only root, and the user that it runs
/// as, are listened to.
class ControlDoor final : public http::Handler {
 public:
  static constexpr std::size_t kMostPeers = 64;

  /// @p gateway  outlives it. Errors: as epoll_ctl(2).
  static Result<std::unique_ptr<ControlDoor>> open(Gateway& gateway, os::Fd listener);
  ControlDoor(const ControlDoor&) = delete;
  ControlDoor& operator=(const ControlDoor&) = delete;
  ~ControlDoor();

  void on_ready(http::Ready ready) override;
  void on_deadline() override {}

 private:
  class Peer;
  ControlDoor(Gateway& gateway, os::Fd listener);
  void forget(Peer& peer);

  Gateway& gateway_;
  os::Fd listener_;
  http::Loop::Watch watch_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace gpuward::gateway
