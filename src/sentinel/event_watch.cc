#include "sentinel/event_watch.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>
#include <utility>

namespace gpuward::sentinel {
namespace {

// Nobody waits for this thread, so a wait may be long; it ends early when there is an event.
constexpr std::chrono::milliseconds kPatience{30'000};
constexpr std::chrono::seconds kReopenAfter{60};

}  // namespace

Result<EventWatch*> EventWatch::start(gpu::NvmlOptions options) {
  const int number = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (number < 0) return fail(last_error("make an eventfd"));
  // Never freed: its thread is inside the driver when the process ends.
  auto* watch = new EventWatch(os::Fd::take(number), std::move(options));
  const auto work = [](void* self) -> void* {
    static_cast<EventWatch*>(self)->work();
    return nullptr;
  };
  pthread_t thread{};
  if (const int code = ::pthread_create(&thread, nullptr, work, watch); code != 0)
    return fail(error_from(code, "start the thread that waits for the driver's events"));
  ::pthread_detach(thread);
  return watch;
}

EventWatch::Taken EventWatch::take() {
  const std::lock_guard lock(mutex_);
  std::uint64_t count = 0;
  // An eventfd that does not block. NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
  [[maybe_unused]] const auto drained = ::read(ready_.get(), &count, sizeof count);
  return std::exchange(waiting_, {});
}

void EventWatch::work() {
  for (;;) {
    if (!source_.is_open() && !source_.open()) {
      // A thread with nothing else to do, in no hurry: not a wait for anything that could be told.
      std::this_thread::sleep_for(kReopenAfter);
      continue;
    }
    const auto event = source_.wait(kPatience);
    // Asked again at once it would most likely fail again, at the price of an nvmlInit_v2 each
    // time.
    if (!event && !source_.is_open()) std::this_thread::sleep_for(kReopenAfter);
    if (!event) continue;
    const std::lock_guard lock(mutex_);
    if (waiting_.events.size() < kMostEvents)
      waiting_.events.push_back(*event);
    else
      ++waiting_.lost;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto told = ::write(ready_.get(), &one, sizeof one);
  }
}

}  // namespace gpuward::sentinel
