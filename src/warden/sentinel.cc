#include "warden/sentinel.h"

#include <algorithm>
#include <csignal>

#include "os/clock.h"

namespace gpuward::warden {
namespace {

constexpr auto kLongestPause = std::chrono::milliseconds(60'000);
constexpr auto kSilentAtMost = std::chrono::seconds(5);
// A card that sleeps is given 5 s by the sentinel itself.
constexpr auto kTrySilentAtMost = std::chrono::seconds(8);
// What KILL ends is gone within milliseconds.
constexpr auto kDies = std::chrono::seconds(1);

std::string numbers(const std::vector<std::uint32_t>& cards) {
  std::string text;
  for (const auto card : cards) text += (text.empty() ? "" : ",") + std::to_string(card);
  return text;
}

}  // namespace

Sentinel::~Sentinel() {
  stop();
}

void Sentinel::start(std::function<void(GpuSnapshot)> on_snapshot) {
  on_snapshot_ = std::move(on_snapshot);
  launch();
}

void Sentinel::stop() {
  on_snapshot_ = nullptr;
  for (auto* timer : {&retry_, &soon_, &chores_}) timer->cancel();
  (void)main_.close();
  (void)other_.close();
  dying_.clear();
}

void Sentinel::bury(os::Process process) {
  if (process && process.alive()) dying_.push_back({std::move(process), os::now()});
}

void Sentinel::sweep(Instant) {
  std::erase_if(dying_, [](const Dying& one) { return !one.process.alive(); });
}

std::uint32_t Sentinel::unkillable(Instant now) const {
  return static_cast<std::uint32_t>(std::ranges::count_if(dying_, [&](const Dying& one) {
    return now - one.killed_at >= kDies && one.process.alive();
  }));
}

void Sentinel::launch() {
  sweep(os::now());
  if (dying_.size() >= 2 * kMostUnkillable)
    return launch_later("too many of gpuward-sentinel hang in the driver and cannot be ended");
  std::vector<std::string> args;
  if (const auto out = watch_.out(); !out.empty()) args = {"--skip", numbers(out)};
  const auto opened = main_.open(
      args, kSilentAtMost, [this](GpuSnapshot snapshot) { hear(std::move(snapshot)); },
      [this](const char* why) { launch_later(why); });
  if (!opened) launch_later("gpuward-sentinel does not run");
}

void Sentinel::hear(GpuSnapshot snapshot) {
  if (!on_snapshot_) return;
  const auto out_before = watch_.out().size();
  const bool wakes = snapshot.sight == GpuSight::unknown;  // it has seen nothing yet
  const bool hangs = watch_.see(std::move(snapshot), os::now());
  if (!hangs && !wakes) pause_ = std::chrono::milliseconds(1000);
  tell();
  if (!hangs || !on_snapshot_) return;
  // It may come back by itself, but nobody knows when; the other cards cannot wait for it.
  bury(main_.close());
  do_chores_soon();
  if (watch_.out().size() > out_before) return launch();
  retry_.expires_after(pause_);
  pause_ = std::min(pause_ * 2, kLongestPause);
  retry_.async_wait([this](const boost::system::error_code& code) {
    if (!code && on_snapshot_) launch();
  });
}

void Sentinel::launch_later(const char* why) {
  if (!on_snapshot_) return;
  bury(main_.close());
  watch_.lose_sight(why, os::now());
  tell();
  if (!on_snapshot_) return;
  retry_.expires_after(pause_);
  pause_ = std::min(pause_ * 2, kLongestPause);
  retry_.async_wait([this](const boost::system::error_code& code) {
    if (!code && on_snapshot_) launch();
  });
}

void Sentinel::try_card(std::uint32_t card) {
  watch_.begin_try(card);
  const auto opened = other_.open(
      {"--only", std::to_string(card)}, kTrySilentAtMost,
      [this, card](GpuSnapshot seen) {
        // Said while it goes on: no answer yet.
        if (seen.sight != GpuSight::unknown) end_try(card, std::move(seen));
      },
      [this, card](const char*) { end_try(card, std::nullopt); });
  if (!opened) end_try(card, std::nullopt);
}

void Sentinel::end_try(std::uint32_t card, const std::optional<GpuSnapshot>& seen) {
  bury(other_.close());
  if (watch_.end_try(card, seen, os::now())) {
    bury(main_.close());
    retry_.cancel();
    launch();
  }
  do_chores_soon();
}

// While something hangs: who has died meanwhile, and which card may be tried.
void Sentinel::do_chores_soon() {
  chores_.expires_after(kDies);
  chores_.async_wait([this](const boost::system::error_code& code) {
    if (code || !on_snapshot_) return;
    const Instant now = os::now();
    sweep(now);
    if (const auto card = watch_.due(now); card && dying_.size() < kMostUnkillable) try_card(*card);
    if (!dying_.empty() || !watch_.out().empty()) do_chores_soon();
  });
}

void Sentinel::tell() {
  GpuSnapshot snapshot = watch_.merged();
  snapshot.unkillable_sentinels = unkillable(os::now());
  if (on_snapshot_) on_snapshot_(std::move(snapshot));
}

void Sentinel::look_in(Duration pause) {
  soon_.expires_after(pause);
  soon_.async_wait([this](const boost::system::error_code& code) {
    if (!code) look_now();
  });
}

}  // namespace gpuward::warden
