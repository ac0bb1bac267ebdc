#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "domain/gpu.h"
#include "gpu/nvml.h"

namespace gpuward::gpu {

/// What kind of event the driver's bit means.
GpuEventKind event_kind(std::uint64_t type);

/// The events of all cards: Xids, ECC errors, changes. They tell of no process. One thread of its
/// own, which may hang in any call here for ever; nothing is shared with an Nvml but the driver's
/// library itself.
class EventSource {
 public:
  explicit EventSource(NvmlOptions options) : options_(std::move(options)) {}

  /// Asks the driver to tell of the cards' events. False: it cannot, now or ever.
  bool open();
  /// The next event, or nullopt after @p patience. After a failure is_open() is false.
  std::optional<GpuEvent> wait(std::chrono::milliseconds patience);
  bool is_open() const { return set_ != nullptr; }

 private:
  void close();
  /// Registers the cards that are @p asked about with the set. @return the card at which the
  /// driver left the set undefined (nvmlDeviceRegisterEvents says so of code 999): it is useless
  std::optional<std::uint32_t> register_all(const std::vector<bool>& asked);

  NvmlOptions options_;
  CallMark mark_;
  Library library_;
  abi::EventSet set_ = nullptr;
  std::vector<abi::Device> cards_;  // by index; null: not asked about
};

}  // namespace gpuward::gpu
