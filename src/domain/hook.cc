#include "domain/hook.h"

#include <algorithm>
#include <utility>

#include "domain/report.h"

namespace gpuward {

bool may_have_hook(EventKind kind) {
  switch (kind) {
    case EventKind::down_ordered:
    case EventKind::up_ordered:
    case EventKind::reload_ordered:
    case EventKind::warden_began:
    case EventKind::warden_ended:
    case EventKind::pruned:
    case EventKind::set_aside:
    case EventKind::missed:
    case EventKind::hook:
    case EventKind::hook_done:
      return false;
    default:
      return to_string(kind) != "unknown";
  }
}

std::vector<std::string_view> hook_names() {
  std::vector<std::string_view> names;
  for (unsigned number = 0; number <= 255; ++number) {
    const auto kind = static_cast<EventKind>(number);
    if (may_have_hook(kind)) names.push_back(to_string(kind));
  }
  for (unsigned number = 0; number <= 255; ++number) {
    const auto verdict = to_string(static_cast<Verdict>(number));
    if (verdict != "UNKNOWN") names.push_back(verdict);
  }
  return names;
}

bool HookQueue::add(HookNews news, Instant now) {
  Name& name = names_[news.event];
  const bool again = name.last_run && now - *name.last_run < kSameWithin;
  if (name.waiting || again) {
    ++name.counted;
    if (!name.waiting) name.kept_back = std::move(news);
    return false;
  }
  name.kept_back.reset();
  order_.push_back(news.event);
  name.waiting = std::move(news);
  return true;
}

std::optional<HookQueue::Run> HookQueue::next(Instant now) {
  if (running_) return std::nullopt;
  for (auto& [event, name] : names_) {
    if (!name.kept_back || name.waiting || now - *name.last_run < kSameWithin) continue;
    name.waiting = std::exchange(name.kept_back, std::nullopt);
    --name.counted;
    order_.push_back(event);
  }
  if (order_.empty()) return std::nullopt;
  Name& name = names_[order_.front()];
  order_.pop_front();
  Run run{std::move(*name.waiting), std::exchange(name.counted, 0)};
  name.waiting.reset();
  name.last_run = now;
  running_ = true;
  return run;
}

Instant HookQueue::next_due() const {
  Instant due = Instant::max();
  if (running_) return due;
  for (const auto& [event, name] : names_)
    if (name.kept_back && !name.waiting) due = std::min(due, *name.last_run + kSameWithin);
  return due;
}

void HookQueue::keep_only(const std::vector<std::string>& names) {
  const auto gone = [&](const std::string& name) {
    return std::ranges::find(names, name) == names.end();
  };
  std::erase_if(order_, gone);
  std::erase_if(names_, [&](const auto& item) { return gone(item.first); });
}

}  // namespace gpuward
