#include "sentinel/looker.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/clock.h"

namespace gpuward::sentinel {

Result<Looker*> Looker::start() {
  const int number = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (number < 0) return fail(last_error("make an eventfd"));
  // Never freed: its thread may be inside the driver when the process ends.
  auto* looker = new Looker(os::Fd::take(number));
  const auto work = [](void* self) -> void* {
    static_cast<Looker*>(self)->work();
    return nullptr;
  };
  // Not std::thread, whose only way to fail is to throw.
  pthread_t thread{};
  if (const int code = ::pthread_create(&thread, nullptr, work, looker); code != 0)
    return fail(error_from(code, "start the thread that looks at the GPUs"));
  ::pthread_detach(thread);
  return looker;
}

bool Looker::ask() {
  const std::lock_guard lock(mutex_);
  if (busy_) return false;
  asked_ = busy_ = true;
  wake_.notify_one();
  return true;
}

std::optional<GpuSnapshot> Looker::take() {
  const std::lock_guard lock(mutex_);
  if (!done_) return std::nullopt;
  std::uint64_t count = 0;
  // An eventfd that does not block. NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
  [[maybe_unused]] const auto drained = ::read(ready_.get(), &count, sizeof count);
  last_ = *std::move(done_);
  done_.reset();
  busy_ = false;
  return last_;
}

void Looker::work() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return asked_; });
      asked_ = false;
    }
    GpuSnapshot snapshot = nvml_.look();
    const std::lock_guard lock(mutex_);
    done_ = std::move(snapshot);
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto told = ::write(ready_.get(), &one, sizeof one);
  }
}

GpuSnapshot Looker::hung(std::chrono::milliseconds waited) const {
  GpuSnapshot snapshot = last_;
  const auto call = nvml_.in_progress().get();
  snapshot.sight = GpuSight::hung;
  snapshot.taken_ns = os::now().time_since_epoch() / std::chrono::nanoseconds(1);
  snapshot.detail = call.name != nullptr ? call.name : "between two calls";
  if (call.name != nullptr && call.device >= 0)
    snapshot.detail += " of GPU " + std::to_string(call.device);
  snapshot.detail += " after " + to_string(std::chrono::nanoseconds(waited));
  for (GpuDevice& device : snapshot.devices) {
    if (call.device >= 0 && device.index != static_cast<std::uint32_t>(call.device)) continue;
    device.state = GpuState::suspect;
  }
  return snapshot;
}

}  // namespace gpuward::sentinel
