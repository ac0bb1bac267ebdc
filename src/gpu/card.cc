#include "gpu/card.h"

#include <algorithm>
#include <map>

#include "os/clock.h"

namespace gpuward::gpu {
namespace {

using namespace std::chrono_literals;

// What changes slowly is asked for seldom (docs/gpu.md): the calls are not free, and the numbers
// say how old they are.
constexpr std::int64_t kClimatePeriod = std::chrono::nanoseconds(2s).count();
constexpr std::int64_t kSwitchingPeriod = std::chrono::nanoseconds(5s).count();
constexpr std::int64_t kLinkPeriod = std::chrono::nanoseconds(5s).count();
constexpr std::int64_t kErrorsPeriod = std::chrono::nanoseconds(60s).count();
// A look that comes a little early must not put off what is due until the next one.
constexpr std::int64_t kEarly = std::chrono::nanoseconds(100ms).count();

std::int64_t monotonic_ns() {
  return os::now().time_since_epoch() / 1ns;
}

bool due(std::int64_t& next, std::int64_t now, std::int64_t period, bool everything) {
  if (!everything && now + kEarly < next) return false;
  next = now + period;
  return true;
}

GpuState state_of(abi::Code code) {
  switch (code) {
    case abi::kSuccess:
      return GpuState::ok;
    case abi::kGpuIsLost:
      return GpuState::lost;
    case abi::kResetRequired:
      return GpuState::reset_required;
    default:
      return GpuState::unreadable;
  }
}

/// These say something about the card itself, whichever call they come from.
bool condemns(abi::Code code) {
  return code == abi::kGpuIsLost || code == abi::kResetRequired;
}

/// Not offered by this card or driver: the next older form may be.
bool absent(abi::Code code) {
  return answer_of(code) == Answer::not_supported;
}

/// One row per process and MIG instance: a process that computes and draws stands in two lists,
/// each time with all its memory.
void merge(std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, RawRow>& rows,
           const RawRow& more) {
  const auto [at, is_new] =
      rows.try_emplace({more.pid, more.gpu_instance, more.compute_instance}, more);
  RawRow& row = at->second;
  if (!is_new &&
      (row.memory == abi::kNoMemory || (more.memory != abi::kNoMemory && more.memory > row.memory)))
    row.memory = more.memory;
}

std::optional<std::uint32_t> instance_of(std::uint32_t number) {
  return number == abi::kNoInstance ? std::nullopt : std::optional(number);
}

}  // namespace

abi::Code Card::attach(const Look& look) {
  const int number = static_cast<int>(device_.index);
  if (handle_ == nullptr) {
    abi::Device handle = nullptr;
    call_ = look.library.handle.name;
    const auto code = look.library.handle(look.mark, number, device_.index, &handle);
    if (code != abi::kSuccess) return code;
    handle_ = handle;
  }
  char text[abi::kTextRoom] = {};
  if (device_.uuid.empty()) {
    call_ = look.library.uuid.name;
    const auto code = look.library.uuid(look.mark, number, handle_, text, abi::kTextRoom);
    if (code != abi::kSuccess) return code;
    text[abi::kTextRoom - 1] = '\0';
    device_.uuid = text;
  }
  if (device_.name.empty()) {
    const auto code = look.library.name(look.mark, number, handle_, text, abi::kTextRoom);
    if (code == abi::kSuccess) {
      text[abi::kTextRoom - 1] = '\0';
      device_.name = text;
    }
  }
  return abi::kSuccess;
}

abi::Code Card::read_memory(const Caller& caller, GpuDevice& device) {
  abi::MemoryV2 memory{};
  memory.version = abi::version_tag<abi::MemoryV2>(2);
  call_ = caller.library.memory_v2.name;
  abi::Code code = caller(caller.library.memory_v2, &memory);
  device.memory_answer = Answer::known;
  if (code == abi::kSuccess) {
    device.memory_total = {memory.total};
    device.memory_used = {memory.used};
    device.memory_reserved = {memory.reserved};
    return code;
  }
  if (!absent(code)) return code;
  abi::Memory old{};
  call_ = caller.library.memory.name;
  code = caller(caller.library.memory, &old);
  if (code == abi::kSuccess) {
    device.memory_total = {old.total};
    device.memory_used = {old.used};
    return code;
  }
  // A card without memory of its own (it shares the host's) is not a broken card.
  if (!absent(code)) return code;
  device.memory_answer = Answer::not_supported;
  return abi::kSuccess;
}

void Card::read_busy(const Caller& caller, GpuDevice& device) {
  const bool sampled = busy_samples_.read(caller, device.busy_percent);
  const bool memory_sampled = memory_samples_.read(caller, device.memory_busy_percent);
  // Until the first sample, and where there are none, the driver's own idea of "now" (of 1/6 to 1 s
  // by product).
  if (sampled && memory_sampled && !device.busy_percent.blank()) return;
  abi::Utilization now{};
  const auto code = caller(caller.library.utilization, &now);
  const bool sane = code != abi::kSuccess || (now.gpu <= 100 && now.memory <= 100);
  const auto take = [&](Reading<std::uint32_t>& into, std::uint32_t value) {
    into = sane ? caller.reading(code, value)
                : Reading<std::uint32_t>::none(Answer::failed, caller.now_ns);
  };
  if (!sampled || device.busy_percent.blank()) take(device.busy_percent, now.gpu);
  if (!memory_sampled || device.memory_busy_percent.blank())
    take(device.memory_busy_percent, now.memory);
}

std::vector<RawRow> Card::list(const Caller& caller, GpuDevice& device) {
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, RawRow> rows;
  abi::Code code = abi::kSuccess;
  const Library& library = caller.library;
  const auto all =
      library.rows(caller.mark, caller.index, caller.device, abi::kAll, row_room_, &code);
  if (all) {
    for (const RawRow& row : *all) merge(rows, row);
  }
  // The list of all does not tell kinds; where it is missing, these three are the list. Computing
  // comes last: it wins over drawing.
  device.processes_visible = all.has_value();
  std::map<std::uint32_t, std::uint8_t> kinds;
  for (const abi::ListMode kind : {abi::kMps, abi::kGraphics, abi::kCompute}) {
    if (all && all->empty()) break;
    const auto some =
        library.rows(caller.mark, caller.index, caller.device, kind, row_room_, &code);
    if (!some) continue;
    if (kind == abi::kCompute) device.processes_visible = true;
    for (const RawRow& row : *some) {
      kinds[row.pid] = static_cast<std::uint8_t>(kind);
      merge(rows, row);
    }
  }
  device.processes_answer = device.processes_visible ? Answer::known : answer_of(code);
  std::vector<RawRow> merged;
  for (auto& [key, row] : rows) {
    if (const auto kind = kinds.find(row.pid); kind != kinds.end()) row.kind = kind->second;
    merged.push_back(row);
  }
  return merged;
}

void Card::read_processes(const Look& look, const Caller& caller, GpuDevice& device) {
  const std::uint64_t listed_ticks = Pairer::now_ticks();
  const std::vector<RawRow> rows = list(caller, device);
  device.processes.clear();
  device.processes.reserve(std::min(rows.size(), kMostRows));
  device.rows_refused = device.rows_cut = 0;
  if (look.pids.ours) look.pairer.refresh();
  for (const RawRow& row : rows) {
    if (!plausible(row, look.pids.max, device.memory_total)) {
      ++device.rows_refused;
      device.processes_visible = false;  // what else is in the list cannot be trusted to be all
      device.processes_answer = Answer::failed;
      continue;
    }
    if (device.processes.size() == kMostRows || look.rows_left == 0) {
      ++device.rows_cut;
      device.processes_visible = false;
      continue;
    }
    --look.rows_left;
    GpuProcess process;
    process.pid = row.pid;
    const auto memory = memory_of(row);
    process.memory = memory ? Reading<Bytes>(*memory, caller.now_ns)
                            : Reading<Bytes>::none(Answer::cannot_see, caller.now_ns);
    process.kind = row.kind;
    process.gpu_instance = instance_of(row.gpu_instance);
    process.compute_instance = instance_of(row.compute_instance);
    // Of a foreign number the local process is somebody else, and its start time proves nothing.
    process.pairing = Pairing::foreign;
    if (look.pids.ours) look.pairer.pair(process, listed_ticks);
    device.processes.push_back(process);
  }
}

void Card::note_leavers(const GpuDevice& before, const GpuDevice& now) {
  for (const GpuProcess& process : before.processes) {
    const bool stays = std::ranges::any_of(
        now.processes, [&](const GpuProcess& other) { return other.pid == process.pid; });
    if (!stays && leavers_.size() < kMostLeavers) leavers_.push_back({process.pid, 0});
  }
}

void Card::read_by_period(const Look& look, const Caller& caller, GpuDevice& device) {
  const std::int64_t now = caller.now_ns;
  const bool switching = due(switching_due_ns_, now, kSwitchingPeriod, look.everything);
  activity_.read(caller, switching, device.activity);
  if (due(climate_due_ns_, now, kClimatePeriod, look.everything))
    read_climate(caller, device.climate);
  if (due(link_due_ns_, now, kLinkPeriod, look.everything)) read_link(caller, device.link);
  const bool first = errors_due_ns_ == 0;
  if (due(errors_due_ns_, now, kErrorsPeriod, look.everything)) {
    if (first) read_place(caller, look.sysfs, device.place);
    read_errors(caller, device.errors);
    read_modes(caller, device.place);
  }
  device.instances =
      device.place.mig.value_or(false) ? read_instances(caller) : std::vector<GpuInstance>();
  if (device.place.accounting.value_or(false) && !leavers_.empty())
    read_ended(caller, leavers_, device.ended);
  else
    leavers_.clear();
}

abi::Code Card::read(const Look& look) {
  const Caller caller{look.library, look.mark, static_cast<int>(device_.index), handle_,
                      monotonic_ns()};
  GpuDevice now = device_;
  if (const auto code = read_memory(caller, now); code != abi::kSuccess) return code;
  read_busy(caller, now);
  read_processes(look, caller, now);
  read_shares(caller, now.processes);
  note_leavers(device_, now);
  read_by_period(look, caller, now);
  now.read_ns = monotonic_ns();
  now.detail.clear();
  device_ = std::move(now);
  return abi::kSuccess;
}

void Card::condemn(const Look& look, abi::Code code) {
  device_.state = state_of(code);
  device_.processes_visible = false;
  device_.processes_answer = Answer::cannot_see;
  device_.detail = look.library.explain(call_, code);
  if (code != abi::kUnknown && code != abi::kOperatingSystem) return;
  const auto minor = device_.place.minor.maybe();
  const auto is_denied = [&] {
    look.mark.begin(kOpensDevice, static_cast<int>(device_.index));
    const bool denied = device_file_is_denied(*minor);
    look.mark.end();
    return denied;
  };
  if (!look.pids.contained && !(minor && is_denied())) return;
  device_.state = GpuState::cut_off;
  device_.detail +=
      "; the device was taken from this container, as `systemctl daemon-reload` on "
      "the host does: start the container again, and give it its devices by CDI";
}

void Card::look(const Look& look) {
  code_ = attach(look);
  if (code_ == abi::kSuccess) code_ = read(look);
  if (code_ == abi::kSuccess)
    device_.state = GpuState::ok;
  else
    condemn(look, code_);
  // A handle may be stale after a reset; the next look asks for it again.
  if (condemns(code_) || code_ == abi::kInvalidArgument) handle_ = nullptr;
}

}  // namespace gpuward::gpu
