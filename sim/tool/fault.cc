#include <fcntl.h>
#include <unistd.h>

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

Result<void> set_rate(Session& session, const Scope& scope, std::uint32_t permille) {
  return for_devices(session, scope, [&](unsigned index) {
    session.change(index, [&](DeviceValue& device) {
      device.rate_permille = permille;
      return 0;
    });
    session.state().devices[index].flags.fetch_or(kThrottled);
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
                              unsigned count, std::uint64_t bytes_each) {
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
    for (unsigned i = 0; i < count; ++i) to[rows + i] = {first_pid + i, bytes_each};
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

Result<void> write_kernel_line(const std::string& path, unsigned bus, unsigned xid, int pid) {
  char line[200];
  const std::string who = pid == 0 ? "'<unknown>'" : std::to_string(pid);
  const std::string name = pid == 0 ? "<unknown>" : command_of(pid);
  std::snprintf(line, sizeof line,
                "NVRM: Xid (PCI:0000:%02x:00): %u, pid=%s, name=%s, Ch 00000008\n", bus, xid,
                who.c_str(), name.c_str());
  auto file = os::Fd::open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (!file) return fail(file.error());
  return os::write_all(*file, std::string_view(line), path);
}

}  // namespace

Result<void> raise_xid(Session& session, const Scope& scope, unsigned xid,
                       const std::string& kmsg) {
  const ToolLock lock(session);
  Result<void> written;
  const auto done = for_devices(session, scope, [&](unsigned index) {
    Header& header = session.state().header;
    const std::uint64_t number = header.events.load();
    EventEntry& entry = session.state().events[number % kMaxEvents];
    entry.number.store(kNever);
    entry.device.store(index);
    entry.xid.store(xid);
    entry.number.store(number);
    header.events.store(number + 1);
    header.event_word.fetch_add(1);
    wake_word(header.event_word);
    if (kmsg.empty() || !written) return;
    written = write_kernel_line(kmsg, session.state().devices[index].pci_bus, xid, scope.pid);
  });
  if (!done) return done;
  return written;
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
