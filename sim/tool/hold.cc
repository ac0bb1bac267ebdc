#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tool/commands.h"

namespace gpuward::gpusim::tool {
namespace {

constexpr std::uint32_t kContext = 1;

/// False when the context is gone: lost, or its memory taken.
bool submit(Session& session, const Hold& hold, std::uint64_t ns) {
  return session.change(static_cast<unsigned>(hold.gpu), [&](DeviceValue& device) {
    const auto at = find_context(device, session.slot(), session.generation(), kContext);
    if (at == device.context_count || (device.contexts[at].flags & kLost) != 0) return false;
    ContextValue& own = device.contexts[at];
    // Never more than a second ahead: it ends with its process, and others want their turn.
    const std::uint64_t ahead = own.submitted_ns - own.executed_ns;
    if (ahead < 1'000'000'000) own.submitted_ns += ns;
    return true;
  });
}

void sleep_until(std::uint64_t ns) {
  const timespec until = {static_cast<time_t>(ns / 1'000'000'000),
                          static_cast<long>(ns % 1'000'000'000)};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

}  // namespace

Result<void> hold(Session& session, const Hold& hold) {
  if (hold.gpu < 0 || hold.gpu >= static_cast<int>(session.device_count())) {
    return fail(Errc::not_found, "find GPU " + std::to_string(hold.gpu));
  }
  if (!hold.name.empty()) ::prctl(PR_SET_NAME, hold.name.c_str(), 0, 0, 0);
  const auto gpu = static_cast<unsigned>(hold.gpu);
  session.sweep(gpu);
  const bool added = session.change(gpu, [&](DeviceValue& device) {
    if (free_bytes(device, 0) < hold.memory_bytes) return false;
    ContextValue* own = add_context(device, session.slot(), session.generation(), kContext);
    if (own == nullptr) return false;
    own->memory_bytes = own->peak_bytes = hold.memory_bytes;  // all of it, context included
    own->pid = static_cast<std::uint32_t>(::getpid());
    if (device.instances > 0) own->demand_permille = 1000 / device.instances;
    return true;
  });
  if (!added) {
    return fail(Errc::refused, "hold that much memory of GPU " + std::to_string(hold.gpu));
  }
  std::printf("holding\n");
  std::fflush(stdout);
  const std::uint64_t start = monotonic_ns();
  const std::uint64_t end = hold.time_ns >= kNever - start ? kNever : start + hold.time_ns;
  constexpr std::uint64_t kStep = 100'000'000;
  std::uint64_t next = start;
  while (next < end) {
    const bool works = hold.busy_percent > 0 &&
                       submit(session, hold, kStep * std::min(hold.busy_percent, 100U) / 100);
    // Who has nothing to do wakes up once an hour, not ten times a second.
    next = std::min(end, next + (works ? kStep : 3600 * std::uint64_t{1'000'000'000}));
    sleep_until(next);
  }
  return {};
}

}  // namespace gpuward::gpusim::tool
