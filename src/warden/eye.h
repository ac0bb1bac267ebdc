#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "domain/gpu.h"
#include "os/process.h"
#include "warden/link.h"

namespace gpuward::warden {

/// One gpuward-sentinel that serves us. Loop thread only.
class Eye {
 public:
  using OnSnapshot = std::function<void(GpuSnapshot)>;
  using OnGone = std::function<void(const char* why)>;

  explicit Eye(asio::io_context& loop) : silence_(loop), loop_(loop) {}

  /// Starts it. @p on_gone is called once, when it has ended or says nothing for @p silent_at_most;
  /// neither handler is called after close(). Errors: as exec(2).
  Result<void> open(const std::vector<std::string>& args, Duration silent_at_most,
                    OnSnapshot on_snapshot, OnGone on_gone);
  bool is_open() const { return static_cast<bool>(link_); }
  /// Asks for a look as soon as possible.
  void look_now();
  /// Ends it by KILL. One that hangs in the driver may live on: it is the caller's from now on.
  os::Process close();

 private:
  void expect_news();
  void gone(const char* why);

  asio::steady_timer silence_;  // it looks each second, and says so where the driver hangs
  asio::io_context& loop_;
  Duration silent_at_most_{};
  std::shared_ptr<Link> link_;
  os::Process process_;
  OnSnapshot on_snapshot_;
  OnGone on_gone_;
};

}  // namespace gpuward::warden
