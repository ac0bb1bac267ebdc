#include <sched.h>

#include <algorithm>

#include "cuda/driver.h"

/// Work and waiting: the only places where a client touches the model while it runs.
namespace gpuward::gpusim {
namespace {

// A wait looks again at the latest after so long: nobody tells it that a competitor was killed.
constexpr std::uint64_t kAlone = 50'000'000;
constexpr std::uint64_t kSharing = 20'000'000;

struct Forecast {
  CUresult code;  ///< 0: done; 600: not yet; else an error
  std::uint64_t now;
  std::uint64_t at;  ///< when to look again
  bool ends;         ///< the work will have ended at @c at, if nobody comes in between
  bool shared;
};

CUresult lost_code() {
  const auto sticky = process_session().own_slot().sticky.load();
  return sticky != 0 ? static_cast<CUresult>(sticky) : kContextIsDestroyed;
}

// Also while its row is still listed (fault lost-context --keep-row).
bool is_dead(const ContextValue& context) {
  return (context.flags & kLost) != 0 || process_session().own_slot().sticky.load() != 0;
}

Forecast forecast(const Context& context, std::uint64_t marker) {
  Session& session = process_session();
  return session.look(context.device, [&](DeviceValue& device) -> Forecast {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    const std::uint64_t now = device.now;
    if (index == device.context_count) return {kContextIsDestroyed, now, now, false, false};
    const ContextValue& own = device.contexts[index];
    if (is_dead(own)) return {lost_code(), now, now, false, false};
    if (own.executed_ns >= marker) return {kSuccess, now, now, true, false};
    const bool shared = competitors(device, index) > 0;
    const std::uint64_t horizon = now + (shared ? kSharing : kAlone);
    const std::uint64_t end = run_until(device, {index, marker}, horizon);
    return {kNotReady, now, end, device.contexts[index].executed_ns >= marker, shared};
  });
}

/// Until @p at or a wake-up: asleep, or burning the CPU as the real driver does when asked to.
void pass_time(unsigned mode, std::atomic<std::uint32_t>& wake, std::uint32_t seen,
               std::uint64_t at) {
  if (mode == kSchedBlocking) return wait_on(wake, seen, at);
  while (monotonic_ns() < at && wake.load(std::memory_order_relaxed) == seen) {
    if (mode == kSchedYield) ::sched_yield();
  }
}

unsigned wait_mode(const Context& context) {
  const unsigned asked = context.flags.load(std::memory_order_relaxed) & kSchedMask;
  if (asked == kSchedSpin || asked == kSchedYield) return asked;
  if (asked == 0 && process_session().state().header.auto_sync_spins != 0) return kSchedSpin;
  return kSchedBlocking;
}

}  // namespace

CUresult submit(Context& context, std::uint64_t ns, std::uint64_t& marker) {
  if (const CUresult code = device_problem(context.device); code != 0) return code;
  Session& session = process_session();
  std::uint64_t now = 0;
  const CUresult code = session.change(context.device, [&](DeviceValue& device) -> CUresult {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    if (index == device.context_count) return kContextIsDestroyed;
    ContextValue& own = device.contexts[index];
    if (is_dead(own)) return lost_code();
    own.submitted_ns += ns;
    marker = own.submitted_ns;
    now = device.now;
    return kSuccess;
  });
  session.sweep_a_little(context.device, now);
  return code;
}

CUresult last_marker(Context& context, std::uint64_t& marker) {
  Session& session = process_session();
  return session.look(context.device, [&](const DeviceValue& device) -> CUresult {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    if (index == device.context_count) return kContextIsDestroyed;
    marker = device.contexts[index].submitted_ns;
    return kSuccess;
  });
}

CUresult query(Context& context, std::uint64_t marker) {
  if (const CUresult code = device_problem(context.device); code != 0) return code;
  Session& session = process_session();
  return session.look(context.device, [&](const DeviceValue& device) -> CUresult {
    const auto index = find_context(device, session.slot(), session.generation(), context.id);
    if (index == device.context_count) return kContextIsDestroyed;
    const ContextValue& own = device.contexts[index];
    if (is_dead(own)) return lost_code();
    return own.executed_ns >= marker ? kSuccess : kNotReady;
  });
}

CUresult wait_for(Context& context, std::uint64_t marker, std::uint64_t* done_at) {
  Session& session = process_session();
  std::atomic<std::uint32_t>& wake = session.own_slot().wake;
  const unsigned mode = wait_mode(context);
  std::uint64_t expected = 0;
  for (;;) {
    // Read before the forecast: a change made in between then ends the wait at once.
    const std::uint32_t seen = wake.load();
    if (const CUresult code = device_problem(context.device); code != 0) return code;
    const Forecast next = forecast(context, marker);
    if (next.code != kNotReady) {
      if (done_at != nullptr) *done_at = expected != 0 ? std::min(expected, next.now) : next.now;
      return next.code;
    }
    expected = next.ends ? next.at : 0;
    pass_time(mode, wake, seen, next.at);
    if (next.shared && !next.ends) session.sweep(context.device);
  }
}

}  // namespace gpuward::gpusim
