#pragma once

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "domain/gpu.h"
#include "gpu/card.h"
#include "gpu/library.h"
#include "gpu/pairing.h"
#include "gpu/pid_space.h"

namespace gpuward::gpu {

struct NvmlOptions {
  NvmlOptions() = default;
  /// @param path  see library
  explicit NvmlOptions(std::string path) : library(std::move(path)) {}
  bool wants(std::uint32_t index) const {
    return (!only || *only == index) && std::ranges::find(skip, index) == skip.end();
  }

  /// Of the driver's library; empty: $GPUWARD_NVML, else libnvidia-ml.so.1 where the loader finds
  /// it.
  std::string library;
  std::string sysfs = "/sys";
  std::vector<std::uint32_t> skip;    ///< no call is made about these cards
  std::optional<std::uint32_t> only;  ///< nor about any but this one
};

/// The driver's view of the cards, as values. It loads the driver's library on the first look, so a
/// machine without a driver is an answer and not a failure. All calls of one Nvml come from one
/// thread, and may hang there for ever when a card or the driver is stuck: only in_progress() may
/// be asked from another thread. The library is never unloaded and never shut down, because either
/// may hang as well.
class Nvml {
 public:
  explicit Nvml(NvmlOptions options = {});
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  /// Reads of every card what is due. A card that cannot be read keeps what was last read of it,
  /// with its old read_ns and a state that says so. When the driver cannot be reached at all, that
  /// answer stands for kRetryAfter: each attempt may write to the kernel log or start a helper of
  /// the driver.
  /// @param everything  also what is not due yet
  GpuSnapshot look(bool everything = false);
  static constexpr std::chrono::seconds kRetryAfter{10};

  const CallMark& in_progress() const { return mark_; }

  /// Can somebody who starts now use the driver? What nvmlInit_v2 says, without a look at any card.
  GpuSnapshot try_driver();

 private:
  bool connect(Instant now);
  void fail_with(GpuSight sight, std::string detail, Instant now);
  bool find_cards(GpuSnapshot& snapshot);
  void find_neighbours();
  void judge_sight(GpuSnapshot& snapshot) const;

  NvmlOptions options_;
  CallMark mark_;
  Library library_;
  PidSpace pids_;
  Pairer pairer_;
  bool connected_ = false;
  bool neighbours_known_ = false;
  GpuSight failure_ = GpuSight::unknown;
  std::string detail_;  // of the failure, or the driver's version
  std::string driver_version_;
  std::string module_version_;
  Instant retry_at_ = Instant::min();
  std::deque<Card> cards_;
};

/// What NVML's @p code means for the machine as a whole.
GpuSight sight_of(abi::Code code, const PidSpace& pids);

/// @p given, else $GPUWARD_NVML, else the usual name.
std::string library_path(std::string given);

}  // namespace gpuward::gpu
