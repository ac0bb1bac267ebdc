#include "gpu/events.h"

#include <algorithm>

#include "os/clock.h"

namespace gpuward::gpu {
namespace {

constexpr std::uint64_t kWanted =
    abi::kEventCorrected | abi::kEventUncorrected | abi::kEventXid | abi::kEventMig |
    abi::kEventStorm | abi::kEventRetirement | abi::kEventRetirementFailed | abi::kEventPoison |
    abi::kEventPoisonFatal | abi::kEventUnavailable | abi::kEventRecovery;
constexpr std::uint32_t kMostCards = 256;

}  // namespace

GpuEventKind event_kind(std::uint64_t type) {
  switch (type) {
    case abi::kEventCorrected:
      return GpuEventKind::ecc_corrected;
    case abi::kEventUncorrected:
      return GpuEventKind::ecc_uncorrected;
    case abi::kEventXid:
      return GpuEventKind::xid;
    case abi::kEventMig:
      return GpuEventKind::mig_changed;
    case abi::kEventStorm:
      return GpuEventKind::ecc_storm;
    case abi::kEventRetirement:
      return GpuEventKind::retirement;
    case abi::kEventRetirementFailed:
      return GpuEventKind::retirement_failed;
    case abi::kEventPoison:
      return GpuEventKind::poison_contained;
    case abi::kEventPoisonFatal:
      return GpuEventKind::poison_fatal;
    case abi::kEventUnavailable:
      return GpuEventKind::unavailable;
    case abi::kEventRecovery:
      return GpuEventKind::recovery_action;
    default:
      return GpuEventKind::other;
  }
}

void EventSource::close() {
  if (set_ != nullptr) (void)library_.event_set_free(mark_, -1, set_);
  set_ = nullptr;
  cards_.clear();
}

bool EventSource::open() {
  close();
  if (!library_.init && !library_.load(library_path(options_.library)).empty()) {
    library_ = {};
    return false;
  }
  std::uint32_t count = 0;
  if (library_.init(mark_, -1) != abi::kSuccess ||
      library_.count(mark_, -1, &count) != abi::kSuccess)
    return false;
  std::vector<bool> asked(std::min(count, kMostCards));
  for (std::uint32_t index = 0; index < asked.size(); ++index) asked[index] = options_.wants(index);
  while (library_.event_set(mark_, -1, &set_) == abi::kSuccess && set_ != nullptr) {
    const auto spoiler = register_all(asked);
    const bool any = std::ranges::any_of(cards_, [](auto card) { return card != nullptr; });
    if (!spoiler && any) return true;
    close();
    if (!spoiler) return false;
    asked[*spoiler] = false;  // so this ends, after as many sets as there are cards
  }
  set_ = nullptr;
  return false;
}

std::optional<std::uint32_t> EventSource::register_all(const std::vector<bool>& asked) {
  cards_.assign(asked.size(), nullptr);
  for (std::uint32_t index = 0; index < cards_.size(); ++index) {
    const int number = static_cast<int>(index);
    abi::Device card = nullptr;
    std::uint64_t offered = 0;
    if (!asked[index] || library_.handle(mark_, number, index, &card) != abi::kSuccess ||
        library_.event_types(mark_, number, card, &offered) != abi::kSuccess ||
        (offered & kWanted) == 0)
      continue;
    const auto code = library_.register_events(mark_, number, card, offered & kWanted, set_);
    if (code == abi::kUnknown) return index;
    if (code == abi::kSuccess) cards_[index] = card;
  }
  return std::nullopt;
}

std::optional<GpuEvent> EventSource::wait(std::chrono::milliseconds patience) {
  if (set_ == nullptr) return std::nullopt;
  abi::EventData data{};
  const auto code =
      library_.event_wait(mark_, -1, set_, &data, static_cast<std::uint32_t>(patience.count()));
  if (code == abi::kTimeout) return std::nullopt;
  if (code != abi::kSuccess) {
    close();
    return std::nullopt;
  }
  const auto card = std::ranges::find(cards_, data.device);
  if (data.device == nullptr || card == cards_.end()) return std::nullopt;
  GpuEvent event;
  event.index = static_cast<std::uint32_t>(card - cards_.begin());
  event.kind = event_kind(data.type);
  event.data = data.data;
  event.at_ns = os::now().time_since_epoch() / std::chrono::nanoseconds(1);
  return event;
}

}  // namespace gpuward::gpu
