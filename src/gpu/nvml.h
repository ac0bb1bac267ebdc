#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "base/units.h"
#include "domain/gpu.h"
#include "gpu/library.h"
#include "gpu/pid_space.h"
#include "gpu/rows.h"

namespace gpuward::gpu {

/// The driver's view of the cards, as values. It loads the driver's library on the first look, so a
/// machine without a driver is an answer and not a failure. All calls of one Nvml come from one
/// thread, and may hang there for ever when a card or the driver is stuck: only in_progress() may
/// be asked from another thread. The library is never unloaded and never shut down, because either
/// may hang as well.
class Nvml {
 public:
  /// @param path  of the library; empty: $GPUWARD_NVML, else libnvidia-ml.so.1 where the loader
  /// finds it
  explicit Nvml(std::string path = {});
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  /// Reads every card. A card that cannot be read keeps what was last read of it, with its old
  /// read_ns and a state that says so. When the driver cannot be reached at all, that answer stands
  /// for kRetryAfter: each attempt may write to the kernel log or start a helper of the driver.
  GpuSnapshot look();
  static constexpr std::chrono::seconds kRetryAfter{10};

  const CallMark& in_progress() const { return mark_; }

 private:
  struct Card {
    abi::Device handle = nullptr;
    GpuDevice last;
  };
  bool connect(Instant now);
  void fail_with(GpuSight sight, std::string detail, Instant now);
  bool find_cards(GpuSnapshot& snapshot);
  /// @return the code that decides the card's state.
  abi::Code attach(Card& card, std::uint32_t index);
  abi::Code read(Card& card, std::uint32_t index);
  abi::Code read_memory(const Card& card, std::uint32_t index, GpuDevice& device);
  void read_busy(const Card& card, std::uint32_t index, GpuDevice& device);
  void read_processes(const Card& card, std::uint32_t index, GpuDevice& device);
  void read_shares(const Card& card, std::uint32_t index, GpuDevice& device);
  std::string explain(const char* call, abi::Code code) const;

  std::string path_;
  CallMark mark_;
  Library library_;
  PidSpace pids_;
  bool connected_ = false;
  GpuSight failure_ = GpuSight::unknown;
  std::string detail_;  // of the failure, or the driver's version
  Instant retry_at_ = Instant::min();
  std::vector<Card> cards_;
};

}  // namespace gpuward::gpu
