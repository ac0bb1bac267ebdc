#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gateway/control_door.h"
#include "gateway/service.h"
#include "http/loop.h"

namespace gpuward::gateway {

/// All doors of one gateway, on one loop.
class Gateway {
 public:
  /// @p spill_folder  where uploads that wait are kept, encrypted. Errors: as epoll_create1(2).
  static Result<std::unique_ptr<Gateway>> make(std::string spill_folder);
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;
  ~Gateway();

  /// The socket that the door of @p service listens at.
  void add_socket(const std::string& service, os::Fd listener);
  Result<void> listen_for_orders(os::Fd listener);
  /// Opens it, or changes what is so. Errors: Errc::invalid for a door that is not sound,
  /// Errc::not_found when it has no socket.
  Result<void> set_door(const Door& door);
  GatewayAnswer carry_out(const GatewayRequest& request);

  /// Until stop() and the last exchange after it, or its deadline. Errors: as epoll_wait(2).
  Result<void> run();
  /// Nobody new comes in; what is under way has @p grace.
  void stop(Duration grace);
  http::Loop& loop() { return *loop_; }

 private:
  explicit Gateway(std::unique_ptr<http::Loop> loop, std::string spill_folder);
  void after_turn();
  Instant next_due() const;
  bool all_empty() const;
  void see(const GatewayRequest& samples);
  bool cancel(JobId job);

  std::unique_ptr<http::Loop> loop_;
  Shared shared_;
  std::map<std::string, os::Fd> sockets_;
  std::map<std::string, std::unique_ptr<Service>> services_;
  std::vector<std::unique_ptr<Service>> closed_;  ///< that still have clients
  std::unique_ptr<ControlDoor> control_;
  bool stopping_ = false;
  Instant stop_by_{};
};

}  // namespace gpuward::gateway
