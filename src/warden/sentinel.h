#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "domain/gpu.h"
#include "os/process.h"
#include "warden/link.h"

namespace gpuward::warden {

/// The warden's eyes: a gpuward-sentinel of its own that looks at the cards once a second and
/// whenever asked. It may hang or die without harm: it is started again with a growing pause. Loop
/// thread only.
class Sentinel {
 public:
  explicit Sentinel(asio::io_context& loop)
      : loop_(loop), retry_(loop), soon_(loop), silence_(loop) {}
  ~Sentinel();

  /// Starts it. @p on_snapshot gets every look, and one that says why when there can be none.
  void start(std::function<void(GpuSnapshot)> on_snapshot);
  /// Asks for a look as soon as possible; the answer comes as any other.
  void look_now();
  /// The same in @p pause.
  void look_in(Duration pause);
  void stop();

 private:
  void launch();
  void launch_later(const char* why);
  void expect_news();

  asio::io_context& loop_;
  std::function<void(GpuSnapshot)> on_snapshot_;
  std::shared_ptr<Link> link_;
  os::Process process_;
  asio::steady_timer retry_;
  asio::steady_timer soon_;
  asio::steady_timer silence_;  // it looks each second, and says so where the driver hangs
  std::chrono::milliseconds pause_{1000};
};

}  // namespace gpuward::warden
