#include "control/gpu_look.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include "control/messages.h"
#include "domain/card_watch.h"
#include "os/clock.h"
#include "os/spawn.h"

namespace gpuward::control {
namespace {

constexpr std::chrono::milliseconds kHearing{200};

GpuSnapshot blind(GpuSight sight, std::string detail) {
  GpuSnapshot snapshot;
  snapshot.sight = sight;
  snapshot.detail = std::move(detail);
  snapshot.taken_ns = os::now().time_since_epoch().count();
  return snapshot;
}

// The next snapshot that the sentinel sends. The end of its output before one is "unreachable".
Result<GpuSnapshot> read_snapshot(const os::Fd& from, FrameBuffer& frames, Instant deadline) {
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

// One that hangs in the driver may not even die; it is let go, and init reaps it.
void dismiss(const os::Process& sentinel) {
  if (!sentinel) return;
  (void)sentinel.signal(SIGKILL);
  ::waitpid(sentinel.pid().number, nullptr, WNOHANG);
}

/// "--skip 0,3"; nothing when @p out is empty.
void leave_out(const std::vector<std::uint32_t>& out, std::vector<std::string>& args) {
  if (out.empty()) return;
  std::string numbers;
  for (const auto card : out) numbers += (numbers.empty() ? "" : ",") + std::to_string(card);
  args.insert(args.end(), {"--skip", std::move(numbers)});
}

/// "4800ms": what is left until @p deadline, less what it takes to hear of it.
std::string time_left(Instant deadline) {
  using std::chrono::milliseconds;
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - os::now());
  const auto within = std::max({left - kHearing, left / 2, milliseconds(1)});
  return std::to_string(within.count()) + "ms";
}

GpuSnapshot look_once(const std::vector<std::uint32_t>& out, Instant deadline) {
  auto program = os::sibling_program("gpuward-sentinel");
  if (!program) return blind(GpuSight::failed, program.error().message());
  auto pipe = os::make_pipe();
  if (!pipe) return blind(GpuSight::failed, pipe.error().message());
  os::ProgramPlan plan;
  plan.path = *program;
  plan.args = {"--wire", "--once", "--within", time_left(deadline)};
  leave_out(out, plan.args);
  plan.out = pipe->write.get();
  // Not to die with us: it ends by itself, once what wakes a card has come to its end.
  auto sentinel = os::start_program(plan);
  if (!sentinel) return blind(GpuSight::failed, sentinel.error().message());
  pipe->write.close();
  FrameBuffer frames(wire::kMaxLarge);
  auto snapshot = read_snapshot(pipe->read, frames, deadline);
  if (snapshot && snapshot->sight == GpuSight::unknown) {
    ::waitpid(sentinel->pid().number, nullptr, WNOHANG);
    return *snapshot;
  }
  dismiss(*sentinel);
  if (snapshot) return *snapshot;
  // It says by itself what hangs: one that says nothing has not been given the time to.
  const bool late = snapshot.error().code == make_error_code(Errc::timed_out);
  return blind(late ? GpuSight::unknown : GpuSight::failed, snapshot.error().message());
}

}  // namespace

GpuSnapshot look_at_gpus(Instant deadline) {
  CardWatch watch;
  for (;;) {
    const auto out = watch.out();
    const bool hangs = watch.see(look_once(out, deadline), os::now());
    // Once more without the card that hung; where it was none, or there is no time, that is all.
    if (!hangs || watch.out().size() == out.size() || os::now() >= deadline) return watch.merged();
  }
}

Result<ServingSentinel> serve_sentinel(const std::vector<std::string>& args) {
  auto program = os::sibling_program("gpuward-sentinel");
  if (!program) return fail(std::move(program).error());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail(last_error("make a socket for gpuward-sentinel"));
  ServingSentinel serving{os::Process(), os::Fd::take(ends[0])};
  const os::Fd theirs = os::Fd::take(ends[1]);
  os::ProgramPlan plan;
  plan.path = *program;
  plan.args = {"--serve"};
  plan.args.insert(plan.args.end(), args.begin(), args.end());
  plan.handed = &theirs;
  plan.parent_death_signal = SIGKILL;
  auto process = os::start_program(plan);
  if (!process) return fail(std::move(process).error());
  serving.process = std::move(*process);
  return serving;
}

Result<GpuWatch> GpuWatch::start() {
  auto sentinel = serve_sentinel();
  if (!sentinel) return fail(std::move(sentinel).error());
  return GpuWatch(std::move(*sentinel));
}

GpuWatch::~GpuWatch() {
  dismiss(sentinel_.process);
}

Result<GpuSnapshot> GpuWatch::look(Instant deadline) {
  const auto asked = os::now().time_since_epoch().count();
  GPUWARD_TRY(os::write_all(sentinel_.socket, "l", "ask gpuward-sentinel"));
  for (;;) {
    auto snapshot = read_snapshot(sentinel_.socket, frames_, deadline);
    if (!snapshot || snapshot->taken_ns >= asked) return snapshot;
  }
}

}  // namespace gpuward::control
