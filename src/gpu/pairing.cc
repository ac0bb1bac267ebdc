#include "gpu/pairing.h"

#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

namespace gpuward::gpu {
namespace {

// Descriptors that the driver's library and we need for other things.
constexpr rlim_t kSpare = 256;

std::size_t room_for_pidfds() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= kSpare) return 0;
  return std::min<std::size_t>(limit.rlim_cur - kSpare, Pairer::kMostHeld);
}

}  // namespace

Pairer::Pairer() : ended_(os::Fd::take(::epoll_create1(EPOLL_CLOEXEC))), room_(room_for_pidfds()) {}

std::uint64_t Pairer::now_ticks() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  static const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return static_cast<std::uint64_t>(now.tv_sec) * per_second +
         static_cast<std::uint64_t>(now.tv_nsec) * per_second / 1'000'000'000;
}

void Pairer::refresh() {
  epoll_event events[64];
  for (;;) {
    const int count = ended_ ? ::epoll_wait(ended_.get(), events, 64, 0) : 0;
    for (int n = 0; n < count; ++n) held_.erase(events[n].data.u32);
    if (count < 64) break;  // a closed pidfd leaves the set by itself
  }
}

void Pairer::hold(os::Process process) {
  if (held_.size() >= room_) return;
  const auto pid = static_cast<std::uint32_t>(process.pid().number);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = pid;
  // One that nothing tells the end of is looked up each time instead.
  if (!ended_ || process.poll_fd() < 0 ||
      ::epoll_ctl(ended_.get(), EPOLL_CTL_ADD, process.poll_fd(), &event) != 0)
    return;
  held_[pid] = {std::move(process), look_};
}

void Pairer::pair(GpuProcess& row, std::uint64_t listed_ticks) {
  row.start_ticks = 0;
  if (const auto found = held_.find(row.pid); found != held_.end()) {
    // Opened after an earlier list, at the latest: its number was its own when this list was read.
    found->second.look = look_;
    row.start_ticks = found->second.process.id().start_ticks;
    row.pairing = row.start_ticks < listed_ticks ? Pairing::paired : Pairing::young;
  } else if (auto process = os::Process::open(Pid{static_cast<pid_t>(row.pid)})) {
    row.start_ticks = process->id().start_ticks;
    // A tick is 10 ms: one that started in the tick of the list may have started after it.
    row.pairing = row.start_ticks < listed_ticks ? Pairing::paired : Pairing::young;
    hold(*std::move(process));
  } else {
    row.pairing = Pairing::gone;
  }
  if (row.pairing != Pairing::paired) row.start_ticks = 0;
}

void Pairer::end_look() {
  std::erase_if(held_, [this](const auto& one) { return one.second.look != look_; });
  ++look_;
}

}  // namespace gpuward::gpu
