#pragma once

#include <string>
#include <vector>

#include "base/units.h"
#include "control/channel.h"
#include "domain/gpu.h"
#include "os/fd.h"
#include "os/process.h"

namespace gpuward::control {

/// One look at the cards through `gpuward-sentinel --wire --once`, beside this program: whoever
/// calls never touches the driver itself. Always an answer: a sentinel that is missing, cannot be
/// loaded here, or does not come back by @p deadline is a sight of its own, with the reason in
/// `detail`. A card that hangs is a suspect, and the others are looked at without it. Where nothing
/// hangs but cards are still being woken at @p deadline, the sight is unknown.
GpuSnapshot look_at_gpus(Instant deadline);

/// A gpuward-sentinel that looks once a second, and whenever a byte comes, and sends each look as a
/// SnapshotNews frame. It dies with this process. Ends when the socket closes.
struct ServingSentinel {
  os::Process process;
  os::Fd socket;
};
/// @p args: further ones, as "--skip"
Result<ServingSentinel> serve_sentinel(const std::vector<std::string>& args = {});

/// Looks at the cards again and again, at the price of one look each: for measurements. Owns its
/// sentinel. For programs that may wait.
class GpuWatch {
 public:
  static Result<GpuWatch> start();
  ~GpuWatch();
  GpuWatch(GpuWatch&&) = default;
  GpuWatch& operator=(GpuWatch&&) = delete;

  /// A look taken after this call. Errors: timed_out, unreachable when the sentinel has ended.
  Result<GpuSnapshot> look(Instant deadline);

 private:
  explicit GpuWatch(ServingSentinel sentinel) : sentinel_(std::move(sentinel)) {}
  ServingSentinel sentinel_;
  FrameBuffer frames_{wire::kMaxLarge};
};

}  // namespace gpuward::control
