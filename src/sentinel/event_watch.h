#pragma once

#include <mutex>
#include <vector>

#include "base/error.h"
#include "domain/gpu.h"
#include "gpu/events.h"
#include "os/fd.h"

namespace gpuward::sentinel {

/// Waits for the driver's events on a thread of its own, which is never joined: like a Looker it
/// lives until the process _exits. Its functions are for one other thread.
class EventWatch {
 public:
  /// Errors: as eventfd(2); EAGAIN when there can be no thread.
  static Result<EventWatch*> start(gpu::NvmlOptions options);
  EventWatch(const EventWatch&) = delete;
  EventWatch& operator=(const EventWatch&) = delete;

  /// Readable when there are events.
  int ready_fd() const { return ready_.get(); }
  struct Taken {
    std::vector<GpuEvent> events;  ///< at most kMostEvents, the oldest
    std::uint32_t lost = 0;        ///< beyond them
  };
  Taken take();

 private:
  EventWatch(os::Fd ready, gpu::NvmlOptions options)
      : ready_(std::move(ready)), source_(std::move(options)) {}
  void work();

  os::Fd ready_;
  gpu::EventSource source_;
  std::mutex mutex_;  // held for moments only, never during a call into the driver
  Taken waiting_;
};

}  // namespace gpuward::sentinel
