#include "sentinel/looker.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "os/clock.h"

namespace gpuward::sentinel {

namespace {

/// Calls that may take seconds on a card that sleeps.
bool wakes(std::string_view call) {
  return call == "dlopen" || call == "nvmlInit_v2" || call == "nvmlDeviceGetHandleByIndex_v2" ||
         call == gpu::kOpensDevice || call == gpu::kReadsVersion;
}

}  // namespace

Instant stuck_at(const gpu::CallMark::Call& call, Instant asked) {
  if (call.name == nullptr) return std::max(call.since, asked) + kGapDeadline;
  return call.since + (wakes(call.name) ? kWakeDeadline : kCallDeadline);
}

Result<Looker*> Looker::start(gpu::NvmlOptions options) {
  const int number = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (number < 0) return fail(last_error("make an eventfd"));
  // Never freed: its thread may be inside the driver when the process ends.
  auto* looker = new Looker(os::Fd::take(number), std::move(options));
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

bool Looker::ask(bool everything) {
  const std::lock_guard lock(mutex_);
  everything_ |= everything;
  if (busy_) return false;
  asked_ = busy_ = true;
  asked_at_ = os::now();
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
    bool everything = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return asked_; });
      asked_ = false;
      everything = std::exchange(everything_, false);
    }
    GpuSnapshot snapshot = nvml_.look(everything);
    const std::lock_guard lock(mutex_);
    done_ = std::move(snapshot);
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto told = ::write(ready_.get(), &one, sizeof one);
  }
}

Instant Looker::stuck_at() const {
  return sentinel::stuck_at(nvml_.in_progress().get(), asked_at_);
}

bool Looker::is_waking() const {
  const auto call = nvml_.in_progress().get();
  return call.name != nullptr && wakes(call.name);
}

std::string Looker::what_it_does() const {
  const auto call = nvml_.in_progress().get();
  if (call.name == nullptr) return "between two calls";
  std::string text = call.name;
  if (call.device >= 0) text += " of GPU " + std::to_string(call.device);
  return text;
}

GpuSnapshot Looker::hung(Instant now) const {
  GpuSnapshot snapshot = last_;
  const auto call = nvml_.in_progress().get();
  snapshot.sight = GpuSight::hung;
  snapshot.events.clear(), snapshot.events_lost = 0;
  snapshot.taken_ns = now.time_since_epoch() / std::chrono::nanoseconds(1);
  snapshot.detail = what_it_does();
  if (call.name != nullptr)
    snapshot.detail += " after " + to_string(std::chrono::nanoseconds(now - call.since));
  const auto is_meant = [&](const GpuDevice& device) {
    return call.name == nullptr || call.device < 0 ||
           device.index == static_cast<std::uint32_t>(call.device);
  };
  for (GpuDevice& device : snapshot.devices) {
    device.processes_visible = false;
    device.processes_answer = Answer::cannot_see;
    if (!is_meant(device)) continue;
    device.state = GpuState::suspect;
    device.detail = snapshot.detail;
  }
  // A card that hangs at the very first look is not among those last read.
  if (call.name != nullptr && call.device >= 0 &&
      std::ranges::none_of(snapshot.devices, is_meant)) {
    GpuDevice device;
    device.index = static_cast<std::uint32_t>(call.device);
    device.state = GpuState::suspect;
    device.detail = snapshot.detail;
    device.processes_answer = Answer::cannot_see;
    snapshot.devices.push_back(std::move(device));
  }
  return snapshot;
}

GpuSnapshot Looker::unfinished() const {
  GpuSnapshot snapshot = last_;
  snapshot.events.clear(), snapshot.events_lost = 0;
  if (snapshot.sight == GpuSight::unknown) snapshot.detail = "still waking: " + what_it_does();
  return snapshot;
}

}  // namespace gpuward::sentinel
