#include <algorithm>
#include <cstdio>
#include <cstring>

#include "os/fd.h"
#include "tool/commands.h"

namespace gpuward::gpusim::tool {
namespace {

/// Holds off other gpusim tools while this one edits what only tools write.
class ToolLock {
 public:
  explicit ToolLock(Session& session) : session_(session) { session_.lock_tools(); }
  ~ToolLock() { session_.unlock_tools(); }
  ToolLock(const ToolLock&) = delete;
  ToolLock& operator=(const ToolLock&) = delete;

 private:
  Session& session_;
};

Result<unsigned> slot_of(const Session& session, int pid) {
  const unsigned slot = session.slot_of(pid);
  if (slot == kMaxSlots) {
    return fail(Errc::not_found, "find process " + std::to_string(pid) + " on the simulated GPU");
  }
  return slot;
}

/// Calls edit(index) for each device in scope.
template <class Edit>
Result<void> for_devices(Session& session, const Scope& scope, Edit edit) {
  if (scope.gpu >= static_cast<int>(session.device_count())) {
    return fail(Errc::not_found, "find GPU " + std::to_string(scope.gpu) + "; there are " +
                                     std::to_string(session.device_count()));
  }
  for (unsigned index = 0; index < session.device_count(); ++index) {
    if (scope.gpu < 0 || static_cast<unsigned>(scope.gpu) == index) edit(index);
  }
  return {};
}

}  // namespace

Result<void> lose_context(Session& session, const Scope& scope, int code, bool keep_row) {
  const auto slot = slot_of(session, scope.pid);
  if (!slot) return fail(slot.error());
  SlotEntry& entry = session.state().slots[*slot];
  entry.sticky.store(static_cast<std::uint32_t>(code));
  const auto done = for_devices(session, scope, [&](unsigned index) {
    session.change(index, [&](DeviceValue& device) {
      for (std::uint32_t i = 0; i < device.context_count; ++i) {
        ContextValue& context = device.contexts[i];
        if (context.slot != *slot || context.generation != session.generation_of(*slot)) continue;
        context.submitted_ns = context.executed_ns;
        if (keep_row) continue;
        context.flags |= kLost;
        context.memory_bytes = 0;
      }
      return 0;
    });
    session.wake_device(index);
  });
  session.wake_slot(*slot);
  return done;
}

Result<void> add_call_fault(Session& session, const Scope& scope, const CallFault& fault) {
  if (fault.function.size() >= sizeof(FaultEntry::function)) {
    return fail(Errc::invalid, "use the function name '" + fault.function + "'");
  }
  if (scope.gpu >= static_cast<int>(session.device_count())) {
    return fail(Errc::not_found, "find GPU " + std::to_string(scope.gpu));
  }
  const ToolLock lock(session);
  Header& header = session.state().header;
  for (FaultEntry& entry : session.state().faults) {
    if (entry.kind.load() != kNoFault) continue;
    entry.times_left.store(fault.times);
    entry.code = fault.code;
    entry.device = scope.gpu;
    entry.pid = static_cast<std::uint32_t>(scope.pid);
    // A process with a context is known by its slot, which means the same in every PID namespace.
    entry.slot = scope.pid == 0 ? kMaxSlots : session.slot_of(scope.pid);
    entry.generation = entry.slot < kMaxSlots ? session.generation_of(entry.slot) : 0;
    entry.delay_ns = fault.delay_ns;
    std::memset(entry.function, 0, sizeof entry.function);
    std::memcpy(entry.function, fault.function.data(), fault.function.size());
    entry.kind.store(fault.kind, std::memory_order_release);
    header.fault_count.fetch_add(1);
    return {};
  }
  return fail(Errc::refused, "set more than " + std::to_string(kMaxFaults) + " faults");
}

Result<void> set_return_delay(Session& session, const Scope& scope, std::uint64_t ns) {
  return for_devices(session, scope, [&](unsigned index) {
    session.change(index, [&](DeviceValue& device) {
      device.return_delay_ns = ns;
      return 0;
    });
  });
}

namespace {

/// Under the ToolLock.
void raise_event(Session& session, unsigned index, std::uint64_t type, unsigned xid) {
  Header& header = session.state().header;
  const std::uint64_t number = header.events.load();
  EventEntry& entry = session.state().events[number % kMaxEvents];
  entry.number.store(kNever);
  entry.device.store(index);
  entry.xid.store(xid);
  entry.type.store(type);
  entry.number.store(number);
  header.events.store(number + 1);
  header.event_word.fetch_add(1);
  wake_word(header.event_word);
}

// NVML's event types.
constexpr std::uint64_t kEccCorrected = 0x1;
constexpr std::uint64_t kEccUncorrected = 0x2;
constexpr std::uint64_t kXid = 0x8;
constexpr std::uint64_t kClock = 0x10;
constexpr std::uint64_t kUnavailable = 0x4000;
constexpr std::uint64_t kRecovery = 0x8000;

}  // namespace

Result<void> set_rate(Session& session, const Scope& scope, std::uint32_t permille,
                      unsigned reason) {
  const ToolLock lock(session);
  return for_devices(session, scope, [&](unsigned index) {
    session.change(index, [&](DeviceValue& device) {
      device.rate_permille = permille;
      return 0;
    });
    session.state().devices[index].flags.fetch_or(kThrottled);
    auto& held = session.state().health[index].held_down[reason];
    const std::uint64_t sum = held.load();
    if ((sum & kHolding) == 0) held.store(kHolding | (monotonic_ns() - sum));
    raise_event(session, index, kClock, 0);
    session.wake_device(index);
  });
}

Result<void> set_device_flags(Session& session, const Scope& scope, std::uint32_t flags) {
  return for_devices(session, scope, [&](unsigned index) {
    session.state().devices[index].flags.fetch_or(flags);
    session.wake_device(index);
  });
}

Result<void> set_header_flags(Session& session, std::uint32_t flags) {
  session.state().header.flags.fetch_or(flags);
  session.wake_all();
  return {};
}

Result<void> set_stride(Session& session, unsigned stride) {
  session.state().header.stride.store(stride);
  return {};
}

Result<void> add_foreign_rows(Session& session, const Scope& scope, std::uint64_t first_pid,
                              unsigned count, std::uint64_t bytes_each, std::uint32_t instance) {
  const ToolLock lock(session);
  bool full = false;
  const auto done = for_devices(session, scope, [&](unsigned index) {
    DeviceEntry& device = session.state().devices[index];
    const std::uint64_t head = device.foreign_head.load();
    const std::uint64_t which = head >> 16 & 1;
    const std::uint64_t rows = head & 0xffff;
    full = full || rows + count > kMaxForeign;
    if (full) return;
    const ForeignRow* from = session.state().foreign[index][which];
    ForeignRow* to = session.state().foreign[index][which ^ 1];
    std::copy(from, from + rows, to);
    for (unsigned i = 0; i < count; ++i) to[rows + i] = {first_pid + i, bytes_each, instance};
    device.foreign_head.store(((head >> 20) + 1) << 20 | (which ^ 1) << 16 | (rows + count),
                              std::memory_order_release);
    session.change(index, [&](DeviceValue& value) {
      value.foreign_bytes += bytes_each * count;
      return 0;
    });
  });
  if (full) return fail(Errc::refused, "add more rows than fit on a GPU");
  return done;
}

Result<void> add_phantom(Session& session, const Scope& scope, std::uint64_t bytes) {
  return for_devices(session, scope, [&](unsigned index) {
    session.change(index, [&](DeviceValue& device) {
      device.phantom_bytes += bytes;
      return 0;
    });
  });
}

namespace {

std::string command_of(int pid) {
  auto text = os::read_file("/proc/" + std::to_string(pid) + "/comm");
  if (!text || text->empty()) return "<unknown>";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

/// Calls change(index) for each device in scope until one fails, under the ToolLock.
template <class Change>
Result<void> one_by_one(Session& session, const Scope& scope, Change change) {
  const ToolLock lock(session);
  Result<void> result;
  GPUWARD_TRY(for_devices(session, scope, [&](unsigned index) {
    if (result) result = change(index);
  }));
  return result;
}

}  // namespace

Result<void> raise_xid(Session& session, const Scope& scope, XidLine line, const KernelLog& log) {
  line.pid = scope.pid;
  if (scope.pid != 0) line.process = command_of(scope.pid);
  return one_by_one(session, scope, [&](unsigned index) {
    raise_event(session, index, kXid, line.xid);
    line.pci_bus = session.state().devices[index].pci_bus;
    return append(session, log, xid_text(line));
  });
}

Result<void> fall_off_the_bus(Session& session, const Scope& scope, const KernelLog& log) {
  return one_by_one(session, scope, [&](unsigned index) {
    DeviceEntry& device = session.state().devices[index];
    device.flags.fetch_or(kOffTheBus);
    session.wake_device(index);
    raise_event(session, index, kUnavailable, 0);
    return append(session, log, fallen_off_text(device.pci_bus));
  });
}

Result<void> set_recovery_action(Session& session, const Scope& scope, unsigned action,
                                 const KernelLog& log) {
  return one_by_one(session, scope, [&](unsigned index) {
    const auto before = static_cast<unsigned>(
        session.state().health[index].recovery_action.exchange(static_cast<std::int32_t>(action)));
    raise_event(session, index, kRecovery, 0);
    XidLine line;
    line.pci_bus = session.state().devices[index].pci_bus;
    line.xid = 154;
    line.tail = recovery_tail(before, action);
    return append(session, log, xid_text(line));
  });
}

Result<void> change_health(Session& session, const Scope& scope, const HealthChange& change) {
  const auto set = [](auto& sensor, const auto& value) {
    if (value) sensor.store(*value);
  };
  return one_by_one(session, scope, [&](unsigned index) -> Result<void> {
    HealthEntry& health = session.state().health[index];
    set(health.temperature, change.temperature);
    set(health.memory_temperature, change.memory_temperature);
    set(health.power_mw, change.power_mw);
    set(health.pcie_width, change.pcie_width);
    set(health.pcie_generation, change.pcie_generation);
    health.ecc_corrected.fetch_add(change.ecc_corrected);
    health.ecc_uncorrected.fetch_add(change.ecc_uncorrected);
    health.rows_corrected.fetch_add(change.rows_corrected);
    health.rows_uncorrected.fetch_add(change.rows_uncorrected);
    health.pages_single.fetch_add(change.pages_single);
    health.pages_double.fetch_add(change.pages_double);
    health.pcie_correctable.fetch_add(change.pcie_correctable);
    health.pcie_non_fatal.fetch_add(change.pcie_non_fatal);
    health.pcie_fatal.fetch_add(change.pcie_fatal);
    if (change.rows_pending) health.rows_pending.store(1);
    if (change.rows_failed) health.rows_failed.store(1);
    if (change.pages_pending) health.pages_pending.store(1);
    if (change.persistence_off) health.persistence.store(0);
    if (change.ecc_corrected > 0) raise_event(session, index, kEccCorrected, 0);
    if (change.ecc_uncorrected > 0) raise_event(session, index, kEccUncorrected, 0);
    return {};
  });
}

Result<void> lose_device_files(Session& session, const Scope& scope) {
  CallFault fault;
  fault.function = "nvml*";
  fault.code = 999;
  GPUWARD_TRY(add_call_fault(session, scope, fault));
  fault.function = "cuInit";
  return add_call_fault(session, scope, fault);
}

Result<void> heal(Session& session) {
  const ToolLock lock(session);
  StateFile& state = session.state();
  for (FaultEntry& entry : state.faults) entry.kind.store(kNoFault);
  state.header.fault_count.store(0);
  state.header.flags.fetch_and(kDestroyed);
  state.header.stride.store(24);
  for (unsigned index = 0; index < session.device_count(); ++index) {
    DeviceEntry& device = state.devices[index];
    device.flags.fetch_and(~(kOffTheBus | kResetRequired | kThrottled));
    reset_health(state.health[index]);
    const std::uint64_t head = device.foreign_head.load();
    device.foreign_head.store(((head >> 20) + 1) << 20 | (head & 0x10000));
    session.change(index, [&](DeviceValue& value) {
      value.rate_permille = 1000;
      value.foreign_bytes = 0;
      value.phantom_bytes = 0;
      value.return_delay_ns = device.return_delay_ns;
      const std::uint64_t latest = value.now + std::max<std::uint64_t>(1, value.return_delay_ns);
      for (std::uint32_t i = 0; i < value.context_count; ++i) {
        std::uint64_t& returns_at = value.contexts[i].returns_at;
        if (returns_at > latest) returns_at = latest;
      }
      return 0;
    });
  }
  session.wake_all();
  return {};
}

}  // namespace gpuward::gpusim::tool
