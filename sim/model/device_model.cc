#include "model/device_model.h"

#include <algorithm>
#include <cstring>

namespace gpuward::gpusim {
namespace {

constexpr std::uint32_t kFractionBits = 20;
constexpr std::uint64_t kNoTarget = kNever;
__extension__ using Wide = unsigned __int128;

std::uint64_t remaining(const ContextValue& context) {
  return is_pending(context) ? context.submitted_ns - context.executed_ns : 0;
}

/// Wall time that @p work takes at the device's rate, rounded up.
std::uint64_t wall_for(const DeviceValue& device, std::uint64_t work) {
  if (device.rate_permille == 1000) return work;
  return (work * 1000 + device.rate_permille - 1) / device.rate_permille;
}
std::uint64_t work_in(const DeviceValue& device, std::uint64_t wall) {
  if (device.rate_permille == 1000) return wall;
  return wall * device.rate_permille / 1000;
}

/// Opens the bins up to the one of @p at, emptying what they held a turn ago.
void roll_bins(DeviceValue& device, std::uint64_t at) {
  const std::uint64_t bin = at / device.bin_ns;
  if (bin <= device.last_bin) return;
  const std::uint64_t steps = std::min<std::uint64_t>(bin - device.last_bin, kDeviceBins);
  for (std::uint64_t n = bin - steps + 1; n <= bin; ++n) {
    device.bins[n % kDeviceBins] = 0;
    for (std::uint32_t i = 0; i < device.context_count; ++i) {
      device.contexts[i].bins[n % kContextBins] = 0;
    }
  }
  device.last_bin = bin;
}

template <class Add>
void over_bins(DeviceValue& device, std::uint64_t from, std::uint64_t to, Add add) {
  // What is older than the history would be overwritten anyway.
  const std::uint64_t history = device.bin_ns * kDeviceBins;
  if (to - from > history) from = to - history;
  while (from < to) {
    const std::uint64_t bin = from / device.bin_ns;
    const std::uint64_t end = std::min(to, (bin + 1) * device.bin_ns);
    roll_bins(device, from);
    add(bin, end - from);
    from = end;
  }
}

/// @p share_of: the context had one of so many equal shares of the time.
void record_busy(DeviceValue& device, ContextValue& context, std::uint64_t from, std::uint64_t to,
                 std::uint32_t share_of = 1) {
  context.busy_ns += (to - from) / share_of;
  over_bins(device, from, to, [&](std::uint64_t bin, std::uint64_t ns) {
    context.bins[bin % kContextBins] += static_cast<std::uint32_t>(ns / share_of);
  });
}

void record_busy(DeviceValue& device, std::uint64_t from, std::uint64_t to) {
  device.busy_ns += to - from;
  over_bins(device, from, to, [&](std::uint64_t bin, std::uint64_t ns) {
    device.bins[bin % kDeviceBins] += static_cast<std::uint32_t>(ns);
  });
}

std::uint32_t count_pending(const DeviceValue& device) {
  std::uint32_t pending = 0;
  for (std::uint32_t i = 0; i < device.context_count; ++i) {
    pending += is_pending(device.contexts[i]) ? 1 : 0;
  }
  return pending;
}

/// The next context in turn that wants to run. There must be one.
std::uint32_t next_pending(const DeviceValue& device, std::uint32_t after) {
  for (std::uint32_t step = 1; step <= device.context_count; ++step) {
    const std::uint32_t at = (after + step) % device.context_count;
    if (is_pending(device.contexts[at])) return at;
  }
  return after;
}

/// Whole rounds of turns at once, when nobody has looked for long: the result is the same, only the
/// bins of the contexts are filled evenly instead of turn by turn.
void skip_rounds(DeviceValue& device, std::uint32_t pending, std::uint64_t to) {
  constexpr std::uint64_t kWorthIt = 16;
  if (device.rate_permille != 1000 || device.switch_left != 0) return;
  const std::uint64_t round = (device.slice_ns + device.switch_ns) * pending;
  std::uint64_t rounds = (to - device.now) / round;
  for (std::uint32_t i = 0; i < device.context_count && rounds > kWorthIt; ++i) {
    if (!is_pending(device.contexts[i])) continue;
    rounds = std::min(rounds, remaining(device.contexts[i]) / device.slice_ns);
  }
  if (rounds <= kWorthIt) return;
  --rounds;  // the last one is taken turn by turn, so that nobody ends in the middle of a skip
  const std::uint64_t end = device.now + rounds * round;
  for (std::uint32_t i = 0; i < device.context_count; ++i) {
    if (!is_pending(device.contexts[i])) continue;
    device.contexts[i].executed_ns += rounds * device.slice_ns;
    record_busy(device, device.contexts[i], device.now, end, pending);
  }
  record_busy(device, device.now, end);
  device.switches += rounds * pending;
  device.now = end;
}

/// One turn, or what is left of it before @p to or the target.
void take_turn(DeviceValue& device, std::uint32_t pending, std::uint64_t to, Target target) {
  ContextValue& context = device.contexts[device.current];
  if (device.switch_left > 0) {
    const std::uint64_t spent = std::min(device.switch_left, to - device.now);
    device.switch_left -= spent;
    device.now += spent;
    return;
  }
  std::uint64_t work = remaining(context);
  if (target.executed_ns != kNoTarget && device.current == target.context) {
    work = std::min(work, target.executed_ns - context.executed_ns);
  }
  std::uint64_t wall = std::min(wall_for(device, work), to - device.now);
  if (pending > 1) wall = std::min(wall, device.slice_left);
  context.executed_ns += std::min(work, work_in(device, wall));
  record_busy(device, context, device.now, device.now + wall);
  record_busy(device, device.now, device.now + wall);
  device.now += wall;
  device.slice_left -= std::min(device.slice_left, wall);
}

bool reached(const DeviceValue& device, Target target) {
  return target.executed_ns != kNoTarget &&
         device.contexts[target.context].executed_ns >= target.executed_ns;
}

void run_in_turns(DeviceValue& device, std::uint64_t to, Target target) {
  std::uint32_t pending = count_pending(device);
  while (device.now < to && pending > 0 && !reached(device, target)) {
    if (device.current >= device.context_count) device.current = 0;
    const bool wants = is_pending(device.contexts[device.current]);
    if (!wants || (device.slice_left == 0 && device.switch_left == 0)) {
      const std::uint32_t next = next_pending(device, device.current);
      device.switch_left = next == device.current ? 0 : device.switch_ns;
      device.switches += next == device.current ? 0 : 1;
      device.current = next;
      device.slice_left = device.slice_ns;
      if (pending > 1 && target.executed_ns == kNoTarget) skip_rounds(device, pending, to);
    }
    if (device.now >= to) break;
    take_turn(device, pending, to, target);
    if (!is_pending(device.contexts[device.current])) --pending;
  }
}

/// Everybody at once: at full speed while the demands fit on the card together, else slowed evenly.
void run_together(DeviceValue& device, std::uint64_t to, Target target) {
  while (device.now < to && !reached(device, target)) {
    std::uint64_t demand = 0;
    std::uint64_t least = kNever;
    for (std::uint32_t i = 0; i < device.context_count; ++i) {
      const ContextValue& context = device.contexts[i];
      if (!is_pending(context)) continue;
      demand += context.demand_permille;
      std::uint64_t work = remaining(context);
      if (target.executed_ns != kNoTarget && i == target.context) {
        work = std::min(work, target.executed_ns - context.executed_ns);
      }
      least = std::min(least, work);
    }
    if (least == kNever) return;
    demand = std::max<std::uint64_t>(demand, 1000);
    const std::uint64_t shortest = wall_for(device, (least * demand + 999) / 1000);
    const std::uint64_t wall = std::max<std::uint64_t>(1, std::min(shortest, to - device.now));
    const auto work_fixed = static_cast<Wide>(work_in(device, wall)) * 1000;
    const auto step = static_cast<std::uint64_t>((work_fixed << kFractionBits) / demand);
    for (std::uint32_t i = 0; i < device.context_count; ++i) {
      ContextValue& context = device.contexts[i];
      if (!is_pending(context)) continue;
      const std::uint64_t sum = context.executed_fraction + step;
      const std::uint64_t done = std::min(remaining(context), sum >> kFractionBits);
      context.executed_ns += done;
      context.executed_fraction = static_cast<std::uint32_t>(sum & ((1U << kFractionBits) - 1));
      record_busy(device, context, device.now, device.now + wall);
    }
    record_busy(device, device.now, device.now + wall);
    device.now += wall;
  }
}

void run(DeviceValue& device, std::uint64_t to, Target target) {
  if (device.sharing != kTurns) {
    run_together(device, to, target);
  } else {
    run_in_turns(device, to, target);
  }
}

/// Copies that are due end; memory whose time has come returns.
void settle(DeviceValue& device) {
  for (std::uint32_t i = 0; i < device.context_count;) {
    ContextValue& context = device.contexts[i];
    if ((context.flags & kMovingOut) != 0 && context.moving_until <= device.now) {
      context.flags = (context.flags & ~kMovingOut) | kParked;
      context.host_bytes = context.memory_bytes;
      context.memory_bytes = 0;
    }
    if ((context.flags & kMovingIn) != 0 && context.moving_until <= device.now) {
      context.flags &= ~kMovingIn;
    }
    if (context.returns_at != 0 && context.returns_at <= device.now) {
      remove_context(device, i);
    } else {
      ++i;
    }
  }
}

}  // namespace

void advance(DeviceValue& device, std::uint64_t to) {
  if (to <= device.now) return;
  run(device, to, {0, kNoTarget});
  device.now = to;
  roll_bins(device, to);
  settle(device);
}

std::uint64_t run_until(DeviceValue& device, Target target, std::uint64_t horizon) {
  if (target.context >= device.context_count) return device.now;
  run(device, horizon, target);
  return reached(device, target) ? device.now : std::max(device.now, horizon);
}

std::uint64_t used_bytes(const DeviceValue& device) {
  std::uint64_t used = device.foreign_bytes + device.phantom_bytes;
  for (std::uint32_t i = 0; i < device.context_count; ++i) used += device.contexts[i].memory_bytes;
  return used;
}

std::uint64_t free_bytes(const DeviceValue& device) {
  const std::uint64_t gone = used_bytes(device) + device.reserved_bytes;
  return device.total_bytes > gone ? device.total_bytes - gone : 0;
}

std::uint64_t room_bytes(const DeviceValue& device) {
  const std::uint64_t usable =
      device.total_bytes - std::min(device.total_bytes, device.reserved_bytes);
  return usable / std::max(1U, device.instances);
}

std::uint64_t used_bytes(const DeviceValue& device, std::uint32_t instance) {
  if (device.instances == 0) return used_bytes(device);
  std::uint64_t used = 0;
  for (std::uint32_t i = 0; i < device.context_count; ++i) {
    if (device.contexts[i].instance == instance) used += device.contexts[i].memory_bytes;
  }
  return used;
}

std::uint64_t free_bytes(const DeviceValue& device, std::uint32_t instance) {
  const std::uint64_t left = free_bytes(device);
  if (device.instances == 0) return left;
  const std::uint64_t room = room_bytes(device);
  return std::min(left, room - std::min(room, used_bytes(device, instance)));
}

std::uint32_t find_context(const DeviceValue& device, std::uint32_t slot, std::uint32_t generation,
                           std::uint32_t id) {
  std::uint32_t i = 0;
  for (; i < device.context_count; ++i) {
    const ContextValue& context = device.contexts[i];
    if (context.slot == slot && context.generation == generation && context.id == id) break;
  }
  return i;
}

ContextValue* add_context(DeviceValue& device, std::uint32_t slot, std::uint32_t generation,
                          std::uint32_t id) {
  if (device.context_count == kMaxContexts) return nullptr;
  ContextValue& context = device.contexts[device.context_count++];
  std::memset(&context, 0, sizeof context);
  context.slot = slot;
  context.generation = generation;
  context.id = id;
  context.demand_permille = 1000;
  context.memory_bytes = device.context_bytes;
  context.peak_bytes = device.context_bytes;
  context.created_at = device.now;
  return &context;
}

void remove_context(DeviceValue& device, std::uint32_t index) {
  const std::uint32_t behind = device.context_count - index - 1;
  std::memmove(&device.contexts[index], &device.contexts[index + 1], behind * sizeof(ContextValue));
  --device.context_count;
  if (device.current > index) {
    --device.current;
  } else if (device.current == index) {
    device.slice_left = 0;
    device.switch_left = 0;
    // The turn passes to the one that has moved up, and next_pending looks behind `current`.
    device.current =
        index == 0 ? (device.context_count == 0 ? 0 : device.context_count - 1) : index - 1;
  }
}

void end_owner(DeviceValue& device, std::uint32_t index, bool memory_held) {
  ContextValue& context = device.contexts[index];
  context.submitted_ns = context.executed_ns;
  context.flags |= kRowless;
  if (memory_held || context.returns_at != 0) return;
  const std::uint64_t delay = device.return_delay_ns;
  context.returns_at = delay == kNever ? kNever : device.now + std::max<std::uint64_t>(delay, 1);
  if (delay == 0) remove_context(device, index);
}

std::uint32_t competitors(const DeviceValue& device, std::uint32_t index) {
  std::uint32_t others = 0;
  for (std::uint32_t i = 0; i < device.context_count; ++i) {
    others += i != index && is_pending(device.contexts[i]) ? 1 : 0;
  }
  return others;
}

namespace {

template <class Value>
unsigned percent_of_bins(const DeviceValue& device, const Value& value, unsigned size,
                         unsigned bins) {
  const std::uint64_t window = device.bin_ns * bins;
  if (window == 0) return 0;  // a state file holds what somebody wrote there
  std::uint64_t busy = 0;
  for (unsigned back = 1; back <= bins && back <= device.last_bin; ++back) {
    busy += value.bins[(device.last_bin - back) % size];
  }
  return static_cast<unsigned>(std::min<std::uint64_t>(100, (busy * 100 + window / 2) / window));
}

}  // namespace

unsigned busy_percent(const DeviceValue& device, unsigned bins) {
  return percent_of_bins(device, device, kDeviceBins, bins);
}

unsigned busy_percent(const DeviceValue& device, const ContextValue& context, unsigned bins) {
  return percent_of_bins(device, context, kContextBins, bins);
}

}  // namespace gpuward::gpusim
