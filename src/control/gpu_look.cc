#include "control/gpu_look.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "control/channel.h"
#include "control/messages.h"
#include "os/clock.h"
#include "os/spawn.h"

namespace gpuward::control {
namespace {

GpuSnapshot blind(GpuSight sight, std::string detail) {
  GpuSnapshot snapshot;
  snapshot.sight = sight;
  snapshot.detail = std::move(detail);
  snapshot.taken_ns = os::now().time_since_epoch().count();
  return snapshot;
}

// Reads the one frame of the sentinel; nullopt in time means that it ended without one.
Result<GpuSnapshot> read_snapshot(const os::Fd& from, Instant deadline) {
  FrameBuffer frames(wire::kMaxLarge);
  for (;;) {
    auto body = frames.next();
    if (!body) return fail(std::move(body).error());
    if (*body) {
      auto news = wire::decode<SnapshotNews>(**body);
      if (!news) return fail(std::move(news).error());
      return std::move(news->snapshot);
    }
    pollfd item{from.get(), POLLIN, 0};
    const int ready = ::poll(&item, 1, os::poll_timeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(Errc::timed_out, "wait for gpuward-sentinel");
    const auto room = frames.room();
    const ssize_t n = ::read(from.get(), room.data(), room.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(Errc::unreachable, "run gpuward-sentinel");
    frames.add(static_cast<std::size_t>(n));
  }
}

}  // namespace

GpuSnapshot look_at_gpus(Instant deadline) {
  auto program = os::sibling_program("gpuward-sentinel");
  if (!program) return blind(GpuSight::failed, program.error().message());
  auto pipe = os::make_pipe();
  if (!pipe) return blind(GpuSight::failed, pipe.error().message());
  os::ProgramPlan plan;
  plan.path = *program;
  plan.args = {"--wire", "--once"};
  plan.out = pipe->write.get();
  plan.parent_death_signal = SIGKILL;
  auto sentinel = os::start_program(plan);
  if (!sentinel) return blind(GpuSight::failed, sentinel.error().message());
  pipe->write.close();
  auto snapshot = read_snapshot(pipe->read, deadline);
  // One that hangs in the driver may not even die; it is let go, and init reaps it.
  (void)sentinel->signal(SIGKILL);
  ::waitpid(sentinel->pid().number, nullptr, WNOHANG);
  if (snapshot) return *snapshot;
  const bool late = snapshot.error().code == make_error_code(Errc::timed_out);
  return blind(late ? GpuSight::hung : GpuSight::failed, snapshot.error().message());
}

}  // namespace gpuward::control
