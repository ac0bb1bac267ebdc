#include "gpu/nvml.h"

#include <algorithm>
#include <cstdlib>

#include "os/clock.h"
#include "os/fd.h"

namespace gpuward::gpu {
namespace {

std::int64_t monotonic_ns() {
  return os::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// More than any machine has; a count beyond it is not one.
constexpr std::uint32_t kMostCards = 256;

GpuDistance distance_of(std::int32_t level) {
  for (const auto distance :
       {GpuDistance::same_board, GpuDistance::one_switch, GpuDistance::several_switches,
        GpuDistance::host_bridge, GpuDistance::numa_node}) {
    if (level <= static_cast<std::int32_t>(distance)) return distance;
  }
  return GpuDistance::system;
}

}  // namespace

std::string library_path(std::string given) {
  if (!given.empty()) return given;
  const char* named = std::getenv("GPUWARD_NVML");
  return named != nullptr && *named != '\0' ? named : "libnvidia-ml.so.1";
}

GpuSight sight_of(abi::Code code, const PidSpace& pids) {
  switch (code) {
    case abi::kDriverNotLoaded:
      return GpuSight::no_driver;
    case abi::kVersionMismatch:
      return GpuSight::mismatch;
    case abi::kNoPermission:
      return GpuSight::no_permission;
    case abi::kLibraryNotFound:
      return GpuSight::no_library;
    case abi::kUnknown:
    case abi::kOperatingSystem:
      return pids.contained ? GpuSight::cut_off : GpuSight::failed;
    default:
      return GpuSight::failed;
  }
}

Nvml::Nvml(NvmlOptions options) : options_(std::move(options)) {
  options_.library = library_path(std::move(options_.library));
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
  mark_.begin(kReadsVersion, -1);
  const auto text = os::read_file("/proc/driver/nvidia/version", 4096);
  mark_.end();
  if (text) module_version_ = module_version_in(*text);
  if (!library_.init) {
    mark_.begin("dlopen", -1);  // runs the library's own start-up code
    const std::string problem = library_.load(options_.library);
    mark_.end();
    if (!problem.empty()) {
      library_ = {};
      fail_with(GpuSight::no_library, problem, now);
      return false;
    }
  }
  if (const abi::Code code = library_.init(mark_, -1); code != abi::kSuccess) {
    fail_with(sight_of(code, pids_), library_.explain(library_.init.name, code), now);
    return false;
  }
  char version[abi::kTextRoom] = {};
  const bool told = library_.driver_version(mark_, -1, version, abi::kTextRoom) == abi::kSuccess;
  version[abi::kTextRoom - 1] = '\0';
  if (told) driver_version_ = version;
  detail_ = told ? std::string("driver ") + version : "driver of unknown version";
  connected_ = true;
  return true;
}

bool Nvml::find_cards(GpuSnapshot& snapshot) {
  std::uint32_t count = 0;
  const abi::Code code = library_.count(mark_, -1, &count);
  // Cards that were seen once are asked one by one, even when they can no longer be counted.
  if (code == abi::kSuccess) {
    neighbours_known_ &= count <= cards_.size();
    while (cards_.size() < std::min(count, kMostCards))
      cards_.emplace_back(static_cast<std::uint32_t>(cards_.size()));
  }
  if (!cards_.empty()) return true;
  snapshot.sight = code == abi::kSuccess ? GpuSight::no_gpu : sight_of(code, pids_);
  if (code != abi::kSuccess) snapshot.detail = library_.explain(library_.count.name, code);
  return false;
}

void Nvml::find_neighbours() {
  if (neighbours_known_) return;
  neighbours_known_ = true;
  for (Card& card : cards_) {
    if (card.handle() == nullptr) continue;
    const std::uint32_t index = card.device().index;
    std::vector<GpuNeighbour> neighbours;
    for (const Card& other : cards_) {
      if (&other == &card || other.handle() == nullptr) continue;
      std::int32_t level = 0;
      const abi::Code code =
          library_.ancestor(mark_, static_cast<int>(index), card.handle(), other.handle(), &level);
      if (answer_of(code) == Answer::not_supported) return;
      if (code == abi::kSuccess) neighbours.push_back({other.device().index, distance_of(level)});
    }
    card.set_neighbours(std::move(neighbours));
  }
}

void Nvml::judge_sight(GpuSnapshot& snapshot) const {
  snapshot.sight = GpuSight::visible;
  if (snapshot.devices.empty()) return;
  const auto all = [&](auto holds) { return std::ranges::all_of(cards_, holds); };
  if (all([&](const Card& card) {
        return options_.wants(card.device().index) && card.code() == abi::kNoPermission;
      }))
    snapshot.sight = GpuSight::no_permission;
  if (std::ranges::all_of(snapshot.devices, [](const GpuDevice& device) {
        return device.state == GpuState::cut_off;
      })) {
    snapshot.sight = GpuSight::cut_off;
    snapshot.detail = snapshot.devices.front().detail;
  }
}

GpuSnapshot Nvml::look(bool everything) {
  GpuSnapshot snapshot;
  snapshot.taken_ns = monotonic_ns();
  const bool connected = connect(os::now());
  snapshot.detail = detail_;
  snapshot.pids_are_ours = pids_.ours;
  snapshot.driver_version = driver_version_;
  snapshot.module_version = module_version_;
  if (!connected) {
    snapshot.sight = failure_;
    return snapshot;
  }
  if (!find_cards(snapshot)) return snapshot;
  std::size_t rows_left = kMostRowsOfAll;
  const Look look{library_, mark_, pids_, pairer_, options_.sysfs, rows_left, everything};
  for (Card& card : cards_) {
    if (options_.wants(card.device().index)) card.look(look);
  }
  pairer_.end_look();
  find_neighbours();
  for (const Card& card : cards_) {
    if (options_.wants(card.device().index)) snapshot.devices.push_back(card.device());
  }
  judge_sight(snapshot);
  return snapshot;
}

GpuSnapshot Nvml::try_driver() {
  GpuSnapshot snapshot;
  snapshot.taken_ns = monotonic_ns();
  snapshot.sight = connect(os::now()) ? GpuSight::visible : failure_;
  snapshot.detail = detail_;
  snapshot.driver_version = driver_version_;
  snapshot.module_version = module_version_;
  return snapshot;
}

}  // namespace gpuward::gpu
