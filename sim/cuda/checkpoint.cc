#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "cuda/driver.h"

/// The driver's process-checkpoint calls, made by one process on another.
///
/// What they change lies in the target's slot (the gate) and in the devices. A copy is "moving
/// until T" in the model, so it ends at T even if the caller dies meanwhile.
namespace gpuward::gpusim {
namespace {

// How often a wait looks whether the target still lives.
constexpr std::uint64_t kLookAgain = 20'000'000;

struct TargetSlot {
  unsigned slot = kMaxSlots;
  std::uint32_t generation = 0;
  SlotEntry& entry() const { return process_session().state().slots[slot]; }
  Gate gate() const { return static_cast<Gate>(entry().gate.load()); }
  bool is(const ContextValue& context) const {
    return context.slot == slot && context.generation == generation &&
           (context.flags & (kRowless | kLost)) == 0;
  }
};

CUresult find_target(int pid, TargetSlot& target) {
  if (pid <= 0) return kInvalidValue;
  // The real driver asks for ptrace rights; the right to signal is the nearest thing to ask for.
  if (::kill(pid, 0) != 0 && errno == EPERM) return kNotPermitted;
  Session& session = process_session();
  target.slot = pid == ::getpid() ? session.slot() : session.slot_of(pid);
  if (target.slot == kMaxSlots) return kInvalidValue;
  target.generation = session.generation_of(target.slot);
  return kSuccess;
}

bool change_gate(const TargetSlot& target, Gate from, Gate to) {
  auto expected = static_cast<std::uint32_t>(from);
  return target.entry().gate.compare_exchange_strong(expected, static_cast<std::uint32_t>(to));
}

/// The real driver needs a thread of the target to run: a stopped or frozen one keeps it waiting.
bool is_stopped(int pid) {
  char path[64];
  char text[512] = {};
  const auto read = [&](const char* file) -> std::string_view {
    std::snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {};
    const ssize_t got = ::read(fd, text, sizeof text - 1);
    ::close(fd);
    return got > 0 ? std::string_view(text, static_cast<std::size_t>(got)) : std::string_view();
  };
  const std::string_view stat = read("stat");
  const std::size_t end = stat.rfind(')');
  if (end != std::string_view::npos && end + 2 < stat.size() && stat[end + 2] == 'T') return true;
  const std::string_view where = read("wchan");
  return where.find("freezer") != std::string_view::npos ||
         where.find("refrigerator") != std::string_view::npos;
}

/// When all submitted work of the target will have ended; 0 when it has.
std::uint64_t drained_at(const TargetSlot& target) {
  Session& session = process_session();
  std::uint64_t latest = 0;
  for (unsigned index = 0; index < session.device_count(); ++index) {
    session.look(index, [&](DeviceValue& device) {
      for (std::uint32_t i = 0; i < device.context_count; ++i) {
        const ContextValue& context = device.contexts[i];
        if (!target.is(context) || !is_pending(context)) continue;
        const std::uint64_t end = context.submitted_ns;
        latest = std::max(latest, run_until(device, {i, end}, device.now + kLookAgain));
      }
      return 0;
    });
  }
  return latest;
}

/// When the copies of the target end; 0 when none is under way.
std::uint64_t moved_at(const TargetSlot& target) {
  Session& session = process_session();
  std::uint64_t latest = 0;
  for (unsigned index = 0; index < session.device_count(); ++index) {
    session.look(index, [&](const DeviceValue& device) {
      for (std::uint32_t i = 0; i < device.context_count; ++i) {
        const ContextValue& context = device.contexts[i];
        if (!target.is(context) || (context.flags & (kMovingIn | kMovingOut)) == 0) continue;
        latest = std::max(latest, context.moving_until);
      }
      return 0;
    });
  }
  return latest;
}

bool is_gone(const TargetSlot& target) {
  Session& session = process_session();
  return session.generation_of(target.slot) != target.generation || !session.is_alive(target.slot);
}

/// Waits until when() is 0. @return 600 past the deadline, 999 when the target has died.
template <class When>
CUresult wait_until_none(const TargetSlot& target, std::uint64_t deadline, When when) {
  std::atomic<std::uint32_t>& wake = process_session().own_slot().wake;
  for (;;) {
    const std::uint32_t seen = wake.load();
    const std::uint64_t at = when();
    if (at == 0) return kSuccess;
    const std::uint64_t now = monotonic_ns();
    if (now >= deadline) return kNotReady;
    if (is_gone(target)) return kUnknown;
    wait_on(wake, seen, std::min({at, deadline, now + kLookAgain}));
  }
}

std::uint64_t copy_time(const DeviceValue& device, std::uint64_t bytes) {
  const auto speed = static_cast<double>(std::max<std::uint64_t>(device.copy_bytes_per_second, 1));
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * 1e9 / speed);
}

/// Bytes that parked processes hold in host memory, and that @p target would add.
std::uint64_t host_bytes_with(const TargetSlot& target) {
  Session& session = process_session();
  std::uint64_t sum = 0;
  for (unsigned index = 0; index < session.device_count(); ++index) {
    session.look(index, [&](const DeviceValue& device) {
      for (std::uint32_t i = 0; i < device.context_count; ++i) {
        const ContextValue& context = device.contexts[i];
        sum += context.host_bytes;
        if (target.is(context) || (context.flags & kMovingOut) != 0) sum += context.memory_bytes;
      }
      return 0;
    });
  }
  return sum;
}

void start_moving_out(const TargetSlot& target) {
  Session& session = process_session();
  for (unsigned index = 0; index < session.device_count(); ++index) {
    session.change(index, [&](DeviceValue& device) {
      for (std::uint32_t i = 0; i < device.context_count; ++i) {
        ContextValue& context = device.contexts[i];
        if (!target.is(context) || (context.flags & (kParked | kMovingOut)) != 0) continue;
        const std::uint64_t start = std::max(device.now, device.out_until);
        device.out_until = start + copy_time(device, context.memory_bytes);
        context.moving_until = device.out_until;
        context.flags |= kMovingOut;
      }
      return 0;
    });
  }
}

/// Takes the memory of all devices, or of none. False when there is no room.
bool start_moving_in(const TargetSlot& target) {
  Session& session = process_session();
  const auto parked_bytes = [&](const DeviceValue& device) {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < device.context_count; ++i) {
      if (target.is(device.contexts[i])) sum += device.contexts[i].host_bytes;
    }
    return sum;
  };
  const auto undo = [&](unsigned devices) {
    for (unsigned index = 0; index < devices; ++index) {
      session.change(index, [&](DeviceValue& device) {
        for (std::uint32_t i = 0; i < device.context_count; ++i) {
          ContextValue& context = device.contexts[i];
          if (!target.is(context) || (context.flags & kMovingIn) == 0) continue;
          context.host_bytes = std::exchange(context.memory_bytes, 0);
          context.flags = (context.flags & ~kMovingIn) | kParked;
        }
        return 0;
      });
    }
  };
  for (unsigned index = 0; index < session.device_count(); ++index) {
    const bool fits = session.change(index, [&](DeviceValue& device) {
      if (free_bytes(device) < parked_bytes(device)) return false;
      for (std::uint32_t i = 0; i < device.context_count; ++i) {
        ContextValue& context = device.contexts[i];
        if (!target.is(context) || (context.flags & kParked) == 0) continue;
        const std::uint64_t start = std::max(device.now, device.in_until);
        device.in_until = start + copy_time(device, context.host_bytes);
        context.moving_until = device.in_until;
        context.memory_bytes = std::exchange(context.host_bytes, 0);
        context.flags = (context.flags & ~kParked) | kMovingIn;
      }
      return true;
    });
    if (!fits) {
      undo(index);
      return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace gpuward::gpusim

using namespace gpuward::gpusim;

#define GPUSIM_ENTER_FOR(target, pid)                                                   \
  TargetSlot target;                                                                    \
  do {                                                                                  \
    if (const CUresult entered = enter_ungated(__func__); entered != 0) return entered; \
    if (const CUresult found = find_target(pid, target); found != 0) return found;      \
  } while (false)

GPUSIM_CUDA cuCheckpointProcessGetState(int pid, int* state) {
  GPUSIM_ENTER_FOR(target, pid);
  if (state == nullptr) return kInvalidValue;
  Gate gate = target.gate();
  if (gate == Gate::kCheckpointed && moved_at(target) != 0) gate = Gate::kLocked;
  *state = static_cast<int>(gate);
  return kSuccess;
}

GPUSIM_CUDA cuCheckpointProcessLock(int pid, const CheckpointLockArgs* args) {
  GPUSIM_ENTER_FOR(target, pid);
  const std::uint32_t limit = args == nullptr ? 0 : args->timeout_ms;
  const std::uint64_t deadline =
      limit == 0 ? kNever : monotonic_ns() + std::uint64_t{limit} * 1'000'000;
  if (!change_gate(target, Gate::kOpen, Gate::kLocked)) return kIllegalState;
  const CUresult code = wait_until_none(target, deadline, [&] {
    return is_stopped(pid) ? monotonic_ns() + kLookAgain : drained_at(target);
  });
  if (code != kSuccess) {
    change_gate(target, Gate::kLocked, Gate::kOpen);
    process_session().wake_slot(target.slot);
  }
  return code;
}

GPUSIM_CUDA cuCheckpointProcessCheckpoint(int pid, const void*) {
  GPUSIM_ENTER_FOR(target, pid);
  if (target.gate() != Gate::kLocked || moved_at(target) != 0) return kIllegalState;
  if (host_bytes_with(target) > process_session().state().header.host_budget_bytes) {
    return kOutOfMemory;
  }
  const CUresult awake = wait_until_none(
      target, kNever, [&] { return is_stopped(pid) ? monotonic_ns() + kLookAgain : 0; });
  if (awake != kSuccess) return awake;
  if (!change_gate(target, Gate::kLocked, Gate::kCheckpointed)) return kIllegalState;
  start_moving_out(target);
  return wait_until_none(target, kNever, [&] { return moved_at(target); });
}

GPUSIM_CUDA cuCheckpointProcessRestore(int pid, const void*) {
  GPUSIM_ENTER_FOR(target, pid);
  if (target.gate() != Gate::kCheckpointed || moved_at(target) != 0) return kIllegalState;
  Session& session = process_session();
  for (unsigned index = 0; index < session.device_count(); ++index) session.sweep(index);
  if (!start_moving_in(target)) return kOutOfMemory;
  target.entry().flags.fetch_or(kEverRestored);
  if (!change_gate(target, Gate::kCheckpointed, Gate::kLocked)) return kIllegalState;
  return wait_until_none(target, kNever, [&] { return moved_at(target); });
}

GPUSIM_CUDA cuCheckpointProcessUnlock(int pid, const void*) {
  GPUSIM_ENTER_FOR(target, pid);
  if (moved_at(target) != 0) return kIllegalState;
  if (!change_gate(target, Gate::kLocked, Gate::kOpen)) return kIllegalState;
  process_session().wake_slot(target.slot);
  return kSuccess;
}

GPUSIM_CUDA cuCheckpointProcessGetRestoreThreadId(int pid, int* tid) {
  GPUSIM_ENTER_FOR(target, pid);
  if (tid == nullptr) return kInvalidValue;
  *tid = pid;
  return kSuccess;
}
