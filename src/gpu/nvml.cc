#include "gpu/nvml.h"

#include <cstdlib>
#include <map>

#include "os/clock.h"
#include "os/proc_fs.h"

namespace gpuward::gpu {
namespace {

std::int64_t monotonic_ns() {
  return os::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

std::string library_path(std::string given) {
  if (!given.empty()) return given;
  const char* named = std::getenv("GPUWARD_NVML");
  return named != nullptr && *named != '\0' ? named : "libnvidia-ml.so.1";
}

GpuSight sight_of(abi::Code code) {
  switch (code) {
    case abi::kDriverNotLoaded:
      return GpuSight::no_driver;
    case abi::kVersionMismatch:
      return GpuSight::mismatch;
    case abi::kNoPermission:
      return GpuSight::no_permission;
    case abi::kLibraryNotFound:
      return GpuSight::no_library;
    default:
      return GpuSight::failed;
  }
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
  return code == abi::kNotSupported || code == abi::kFunctionNotFound ||
         code == abi::kArgumentVersionMismatch;
}

/// One row per process and MIG instance: a process that computes and draws stands in two lists,
/// each time with all its memory.
void merge(std::vector<RawRow>& rows, const RawRow& more) {
  for (RawRow& row : rows) {
    if (row.pid != more.pid || row.gpu_instance != more.gpu_instance ||
        row.compute_instance != more.compute_instance)
      continue;
    if (row.memory == abi::kNoMemory || (more.memory != abi::kNoMemory && more.memory > row.memory))
      row.memory = more.memory;
    return;
  }
  rows.push_back(more);
}

// How far back a process counts as busy. Drivers keep some seconds of samples.
constexpr std::uint64_t kShareWindowUs = 1'000'000;
constexpr std::uint32_t kFirstSamples = 128;
constexpr std::uint32_t kMostSamples = 1 << 16;

}  // namespace

Nvml::Nvml(std::string path) : path_(library_path(std::move(path))) {}

std::string Nvml::explain(const char* call, abi::Code code) const {
  std::string text = std::string(call) + ": code " + std::to_string(code);
  if (library_.error_string) {
    if (const char* words = library_.error_string.address(code); words != nullptr)
      text += std::string(", ") + words;
  }
  return text;
}

void Nvml::fail_with(GpuSight sight, std::string detail, Instant now) {
  failure_ = sight;
  detail_ = std::move(detail);
  retry_at_ = now + kRetryAfter;
}

bool Nvml::connect(Instant now) {
  if (connected_) return true;
  if (now < retry_at_) return false;
  pids_ = read_pid_space();
  if (!library_.init) {
    mark_.begin("dlopen", -1);  // runs the library's own start-up code
    const std::string problem = library_.load(path_);
    mark_.end();
    if (!problem.empty()) {
      library_ = {};
      fail_with(GpuSight::no_library, problem, now);
      return false;
    }
  }
  if (const abi::Code code = library_.init(mark_, -1); code != abi::kSuccess) {
    fail_with(sight_of(code), explain(library_.init.name, code), now);
    return false;
  }
  char version[abi::kTextRoom] = {};
  const bool told = library_.driver_version(mark_, -1, version, abi::kTextRoom) == abi::kSuccess;
  version[abi::kTextRoom - 1] = '\0';
  detail_ = told ? std::string("driver ") + version : "driver of unknown version";
  connected_ = true;
  return true;
}

bool Nvml::find_cards(GpuSnapshot& snapshot) {
  std::uint32_t count = 0;
  const abi::Code code = library_.count(mark_, -1, &count);
  // Cards that were seen once are asked one by one, even when they can no longer be counted.
  if (code == abi::kSuccess && count > cards_.size()) cards_.resize(count);
  if (!cards_.empty()) return true;
  snapshot.sight = code == abi::kSuccess ? GpuSight::no_gpu : sight_of(code);
  if (code != abi::kSuccess) snapshot.detail = explain(library_.count.name, code);
  return false;
}

abi::Code Nvml::attach(Card& card, std::uint32_t index) {
  const int number = static_cast<int>(index);
  if (card.handle == nullptr) {
    abi::Device handle = nullptr;
    if (const auto code = library_.handle(mark_, number, index, &handle); code != abi::kSuccess)
      return code;
    card.handle = handle;
  }
  char text[abi::kTextRoom] = {};
  if (card.last.uuid.empty()) {
    const auto code = library_.uuid(mark_, number, card.handle, text, abi::kTextRoom);
    if (code != abi::kSuccess) return code;
    text[abi::kTextRoom - 1] = '\0';
    card.last.uuid = text;
  }
  if (card.last.name.empty()) {
    const auto code = library_.name(mark_, number, card.handle, text, abi::kTextRoom);
    if (condemns(code)) return code;
    text[abi::kTextRoom - 1] = '\0';
    if (code == abi::kSuccess) card.last.name = text;
  }
  return abi::kSuccess;
}

abi::Code Nvml::read_memory(const Card& card, std::uint32_t index, GpuDevice& device) {
  const int number = static_cast<int>(index);
  abi::MemoryV2 now{};
  now.version = abi::version_tag<abi::MemoryV2>(2);
  abi::Code code = library_.memory_v2(mark_, number, card.handle, &now);
  if (code == abi::kSuccess) {
    device.memory_total = {now.total};
    device.memory_used = {now.used};
    return code;
  }
  if (!absent(code)) return code;
  abi::Memory old{};
  code = library_.memory(mark_, number, card.handle, &old);
  if (code == abi::kSuccess) {
    device.memory_total = {old.total};
    device.memory_used = {old.used};
  }
  // A card without memory of its own (it shares the host's) is not a broken card.
  return absent(code) ? abi::kSuccess : code;
}

void Nvml::read_busy(const Card& card, std::uint32_t index, GpuDevice& device) {
  abi::Utilization now{};
  const auto code = library_.utilization(mark_, static_cast<int>(index), card.handle, &now);
  device.busy_percent = code == abi::kSuccess && now.gpu <= 100 ? Reading<std::uint32_t>(now.gpu)
                                                                : Reading<std::uint32_t>();
}

void Nvml::read_processes(const Card& card, std::uint32_t index, GpuDevice& device) {
  const int number = static_cast<int>(index);
  device.processes.clear();
  std::vector<RawRow> rows;
  std::map<std::uint32_t, std::uint8_t> kinds;
  auto all = library_.rows(mark_, number, card.handle, abi::kAll);
  if (all) {
    for (const RawRow& row : *all) merge(rows, row);
  }
  // The list of all does not tell kinds; where it is missing, these three are the list. Computing
  // comes last: it wins over drawing.
  device.processes_visible = all.has_value();
  for (const abi::ListMode kind : {abi::kMps, abi::kGraphics, abi::kCompute}) {
    if (all && all->empty()) break;
    const auto some = library_.rows(mark_, number, card.handle, kind);
    if (!some) continue;
    if (kind == abi::kCompute) device.processes_visible = true;
    for (const RawRow& row : *some) {
      kinds[row.pid] = static_cast<std::uint8_t>(kind);
      merge(rows, row);
    }
  }
  for (const RawRow& row : rows) {
    if (!plausible(row, pids_.max, device.memory_total)) {
      device.processes_visible = false;  // what else is in the list cannot be trusted to be all
      continue;
    }
    GpuProcess process;
    process.pid = row.pid;
    if (const auto memory = memory_of(row)) process.memory = *memory;
    if (const auto kind = kinds.find(row.pid); kind != kinds.end()) process.kind = kind->second;
    if (pids_.ours) {
      // Of a foreign number the local process is somebody else, and its start time proves nothing.
      const auto stat = os::read_stat(Pid{static_cast<pid_t>(row.pid)});
      if (stat) process.start_ticks = stat->start_ticks;
    }
    device.processes.push_back(process);
  }
}

void Nvml::read_shares(const Card& card, std::uint32_t index, GpuDevice& device) {
  if (device.processes.empty()) return;
  const auto civil = os::wall_now().time_since_epoch() / std::chrono::microseconds(1);
  const auto since = static_cast<std::uint64_t>(civil) - kShareWindowUs;
  std::vector<abi::ProcessUtilization> samples(kFirstSamples);
  std::uint32_t count = kFirstSamples;
  auto code = library_.process_utilization(mark_, static_cast<int>(index), card.handle,
                                           samples.data(), &count, since);
  if (code == abi::kInsufficientSize && count > 0 && count <= kMostSamples) {
    samples.resize(count = count * 2);
    code = library_.process_utilization(mark_, static_cast<int>(index), card.handle, samples.data(),
                                        &count, since);
  }
  if (code == abi::kNotFound) count = 0;  // all idle
  if (code != abi::kSuccess && code != abi::kNotFound) return;
  samples.resize(std::min<std::size_t>(count, samples.size()));
  for (GpuProcess& process : device.processes) {
    std::uint64_t newest = 0;
    process.sm_percent = 0;
    for (const auto& sample : samples) {
      if (sample.pid != process.pid || sample.time_us < newest || sample.sm > 100) continue;
      newest = sample.time_us;
      process.sm_percent = sample.sm;
    }
  }
}

abi::Code Nvml::read(Card& card, std::uint32_t index) {
  GpuDevice now = card.last;
  if (const auto code = read_memory(card, index, now); code != abi::kSuccess) return code;
  read_busy(card, index, now);
  read_processes(card, index, now);
  read_shares(card, index, now);
  now.read_ns = monotonic_ns();
  card.last = std::move(now);
  return abi::kSuccess;
}

GpuSnapshot Nvml::look() {
  GpuSnapshot snapshot;
  snapshot.taken_ns = monotonic_ns();
  const bool connected = connect(os::now());
  snapshot.detail = detail_;
  snapshot.pids_are_ours = pids_.ours;
  if (!connected) {
    snapshot.sight = failure_;
    return snapshot;
  }
  if (!find_cards(snapshot)) return snapshot;
  snapshot.sight = GpuSight::visible;
  std::size_t forbidden = 0;
  for (std::uint32_t index = 0; index < cards_.size(); ++index) {
    Card& card = cards_[index];
    card.last.index = index;
    abi::Code code = attach(card, index);
    if (code == abi::kSuccess) code = read(card, index);
    card.last.state = state_of(code);
    if (code != abi::kSuccess) card.last.processes_visible = false;
    forbidden += code == abi::kNoPermission ? 1 : 0;
    snapshot.devices.push_back(card.last);
  }
  if (forbidden == cards_.size()) snapshot.sight = GpuSight::no_permission;
  return snapshot;
}

}  // namespace gpuward::gpu
