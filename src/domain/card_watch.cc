#include "domain/card_watch.h"

#include <algorithm>

namespace gpuward {
namespace {

void blind(GpuDevice& device) {
  device.processes_visible = false;
  device.processes_answer = Answer::cannot_see;
}

bool has(const GpuSnapshot& snapshot, std::uint32_t index) {
  return std::ranges::find(snapshot.devices, index, &GpuDevice::index) != snapshot.devices.end();
}

bool lists_cards(const GpuSnapshot& snapshot) {
  return snapshot.sight == GpuSight::visible || snapshot.sight == GpuSight::no_gpu;
}

}  // namespace

void CardWatch::suspect(const GpuDevice& device, Instant now) {
  if (suspects_.contains(device.index) || suspects_.size() == kMostSuspects) return;
  Suspect one;
  one.last = device;
  // A sentinel that hung at its first look knows less of the card than the one before it did.
  if (const auto good = last_good_.find(device.index);
      good != last_good_.end() && device.read_ns < good->second.read_ns) {
    one.last = good->second;
    one.last.detail = device.detail;
  }
  one.last.state = GpuState::suspect;
  blind(one.last);
  one.retry_at = now + one.pause;
  suspects_[device.index] = std::move(one);
}

// What is known of cards that a fresh sentinel hung before it came to them.
void CardWatch::remember_unread(GpuSnapshot& snapshot, bool all_suspect) const {
  for (const auto& [index, good] : last_good_) {
    const auto is_it = [&, number = index](const GpuDevice& device) {
      return device.index == number;
    };
    if (suspects_.contains(index) || std::ranges::any_of(snapshot.devices, is_it)) continue;
    GpuDevice device = good;
    if (all_suspect) device.state = GpuState::suspect;
    blind(device);
    snapshot.devices.push_back(std::move(device));
  }
  std::ranges::sort(snapshot.devices, {}, &GpuDevice::index);
}

// What the driver lists no more, while it lists the others, is not there.
void CardWatch::forget_gone(const GpuSnapshot& snapshot) {
  if (!lists_cards(snapshot)) return;
  std::erase_if(last_good_, [&](const auto& good) {
    return !suspects_.contains(good.first) && !has(snapshot, good.first);
  });
}

bool CardWatch::see(GpuSnapshot snapshot, Instant now) {
  const bool hangs = snapshot.sight == GpuSight::hung;
  // One that is still waking the cards knows less than what was seen before it.
  if (snapshot.sight == GpuSight::unknown && main_.sight != GpuSight::unknown) return false;
  const auto meant = static_cast<std::size_t>(
      std::ranges::count(snapshot.devices, GpuState::suspect, &GpuDevice::state));
  for (const GpuDevice& device : snapshot.devices) {
    if (device.state != GpuState::suspect) {
      if (device.read_ns != 0) last_good_[device.index] = device;
    } else if (hangs && meant == 1) {
      // With several, the call was about none of them: leaving one out would not help.
      suspect(device, now);
    }
  }
  if (hangs)
    remember_unread(snapshot, meant != 1);
  else
    forget_gone(snapshot);
  main_ = std::move(snapshot);
  std::erase_if(main_.devices,
                [this](const GpuDevice& device) { return suspects_.contains(device.index); });
  return hangs;
}

void CardWatch::lose_sight(std::string why, Instant now) {
  main_.sight = GpuSight::failed;
  main_.detail = std::move(why);
  main_.taken_ns = now.time_since_epoch() / std::chrono::nanoseconds(1);
  main_.events.clear();
  main_.events_lost = 0;
  for (GpuDevice& device : main_.devices) blind(device);
}

std::vector<std::uint32_t> CardWatch::out() const {
  std::vector<std::uint32_t> cards;
  cards.reserve(suspects_.size());
  for (const auto& [index, suspect] : suspects_) cards.push_back(index);
  return cards;
}

std::optional<std::uint32_t> CardWatch::due(Instant now) const {
  if (std::ranges::any_of(suspects_, [](const auto& one) { return one.second.tried; }))
    return std::nullopt;
  for (const auto& [index, suspect] : suspects_) {
    if (now >= suspect.retry_at) return index;
  }
  return std::nullopt;
}

Instant CardWatch::next_due() const {
  Instant next = Instant::max();
  for (const auto& [index, suspect] : suspects_) {
    if (suspect.tried) return Instant::max();
    next = std::min(next, suspect.retry_at);
  }
  return next;
}

void CardWatch::begin_try(std::uint32_t card) {
  if (const auto at = suspects_.find(card); at != suspects_.end()) at->second.tried = true;
}

bool CardWatch::end_try(std::uint32_t card, const std::optional<GpuSnapshot>& seen, Instant now) {
  const auto at = suspects_.find(card);
  if (at == suspects_.end()) return false;
  // A card that answers that it is lost does answer: that is no reason to leave it out.
  const bool well =
      seen && seen->sight != GpuSight::hung && seen->sight != GpuSight::unknown && has(*seen, card);
  const bool gone = seen && lists_cards(*seen) && !has(*seen, card);
  if (gone) last_good_.erase(card);
  if (well || gone) {
    for (const GpuDevice& device : seen->devices) {
      if (device.index == card) main_.devices.push_back(device);
    }
    std::ranges::sort(main_.devices, {}, &GpuDevice::index);
    suspects_.erase(at);
    return true;
  }
  at->second.tried = false;
  at->second.pause = std::min(at->second.pause * 2, kLongestPause);
  at->second.retry_at = now + at->second.pause;
  return false;
}

GpuSnapshot CardWatch::merged() const {
  GpuSnapshot snapshot = main_;
  if (suspects_.empty()) return snapshot;
  const bool others = !snapshot.devices.empty();
  for (const auto& [index, suspect] : suspects_) snapshot.devices.push_back(suspect.last);
  std::ranges::sort(snapshot.devices, {}, &GpuDevice::index);
  const bool blind_otherwise =
      snapshot.sight == GpuSight::visible || snapshot.sight == GpuSight::no_gpu;
  if (!others && blind_otherwise) {
    snapshot.sight = GpuSight::hung;
    snapshot.detail = suspects_.begin()->second.last.detail;
  }
  return snapshot;
}

}  // namespace gpuward
