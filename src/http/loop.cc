#include "http/loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <bit>
#include <limits>

namespace gpuward::http {
namespace {

constexpr int kMostEvents = 256;

/// Turns std::*_heap around: the earliest on top.
constexpr auto later = [](const auto& a, const auto& b) { return a.when > b.when; };

}  // namespace

Loop::Loop(os::Fd epoll) : epoll_(std::move(epoll)), now_(Instant::clock::now()) {}

Result<std::unique_ptr<Loop>> Loop::make() {
  auto epoll = os::Fd::take(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail(last_error("make an epoll descriptor"));
  return std::unique_ptr<Loop>(new Loop(std::move(epoll)));
}

Result<Loop::Watch> Loop::watch(const os::Fd& fd, Handler& handler) {
  const auto slot = take_slot(handler);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = std::bit_cast<std::uint64_t>(key_of(slot));
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) < 0) {
    const auto error = last_error("watch a descriptor");
    free_slot(slot);
    return fail(error);
  }
  slots_[slot].fd = fd.get();
  return Watch(*this, slot);
}

Loop::Watch Loop::timer(Handler& handler) {
  return Watch(*this, take_slot(handler));
}

std::uint32_t Loop::take_slot(Handler& handler) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const auto slot = free_.back();
  free_.pop_back();
  slots_[slot].handler = &handler;
  return slot;
}

void Loop::free_slot(std::uint32_t slot) {
  auto& it = slots_[slot];
  if (it.fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it.fd, nullptr);
  it = Slot{.generation = it.generation + 1};
  free_.push_back(slot);
}

Loop::Slot* Loop::find(Key key) {
  auto& slot = slots_[key.slot];
  return slot.handler != nullptr && slot.generation == key.generation ? &slot : nullptr;
}

Result<void> Loop::turn(std::optional<Duration> at_most) {
  epoll_event events[kMostEvents];
  const int count = ::epoll_wait(epoll_.get(), events, kMostEvents, timeout_ms(at_most));
  if (count < 0 && errno != EINTR) return fail(last_error("wait for events"));
  now_ = Instant::clock::now();
  tell_again();
  for (int n = 0; n < count; ++n) {
    auto* slot = find(std::bit_cast<Key>(std::uint64_t{events[n].data.u64}));
    if (slot == nullptr) continue;  // given up since, by somebody who was told before it
    const auto told = events[n].events;
    slot->handler->on_ready({.readable = (told & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0,
                             .writable = (told & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0,
                             .peer_closed = (told & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0});
  }
  tell_deadlines();
  return {};
}

Result<void> Loop::run() {
  stopped_ = false;
  while (!stopped_) GPUWARD_TRY(turn());
  return {};
}

void Loop::tell_again() {
  const auto keys = std::exchange(again_, {});
  for (const auto key : keys) {
    auto* slot = find(key);
    if (slot == nullptr || !slot->again) continue;
    slot->again = false;
    slot->handler->on_ready({});
  }
}

int Loop::timeout_ms(std::optional<Duration> at_most) const {
  if (!again_.empty()) return 0;
  Duration wait = at_most.value_or(Duration::max());
  if (!alarms_.empty()) wait = std::min(wait, alarms_.front().when - Instant::clock::now());
  if (wait == Duration::max()) return -1;
  // Rounded up: a deadline is never told before its time.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return static_cast<int>(std::clamp<std::int64_t>(ms, 0, std::numeric_limits<int>::max()));
}

void Loop::set_alarm(std::uint32_t slot, Instant when) {
  slots_[slot].alarm = when;
  alarms_.push_back({when, key_of(slot)});
  std::ranges::push_heap(alarms_, later);
}

void Loop::tell_deadlines() {
  while (!alarms_.empty() && alarms_.front().when <= now_) {
    const auto [when, key] = alarms_.front();
    std::ranges::pop_heap(alarms_, later);
    alarms_.pop_back();
    auto* slot = find(key);
    if (slot == nullptr || slot->alarm != when) continue;  // gone, or replaced by an earlier one
    slot->alarm = kNever;
    if (slot->deadline == kNever) continue;
    if (slot->deadline > now_) {
      set_alarm(key.slot, slot->deadline);
      continue;
    }
    slot->deadline = kNever;
    slot->handler->on_deadline();
  }
}

void Loop::Watch::reset() {
  if (loop_ != nullptr) std::exchange(loop_, nullptr)->free_slot(slot_);
}

void Loop::Watch::set_deadline(Instant when) {
  auto& slot = loop_->slots_[slot_];
  slot.deadline = when;
  if (when < slot.alarm) loop_->set_alarm(slot_, when);
}

void Loop::Watch::clear_deadline() {
  loop_->slots_[slot_].deadline = kNever;
}

void Loop::Watch::again() {
  auto& slot = loop_->slots_[slot_];
  if (std::exchange(slot.again, true)) return;
  loop_->again_.push_back(loop_->key_of(slot_));
}

}  // namespace gpuward::http
