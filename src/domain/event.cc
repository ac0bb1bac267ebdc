#include "domain/event.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/utf8.h"

namespace gpuward {
namespace {

constexpr std::array<std::pair<EventKind, std::string_view>, 57> kNames = {{
    {EventKind::ended, "ended"},
    {EventKind::begun, "begun"},
    {EventKind::adopted, "adopted"},
    {EventKind::starting, "starting"},
    {EventKind::ready, "ready"},
    {EventKind::ending, "ending"},
    {EventKind::killing, "killing"},
    {EventKind::unkillable, "unkillable"},
    {EventKind::backing_off, "backing-off"},
    {EventKind::failed, "failed"},
    {EventKind::stopped, "stopped"},
    {EventKind::alarm, "alarm"},
    {EventKind::log_lost, "log-lost"},
    {EventKind::settings, "settings"},
    {EventKind::stop_asked, "stop-asked"},
    {EventKind::restart_asked, "restart-asked"},
    {EventKind::release_asked, "release-asked"},
    {EventKind::released, "released"},
    {EventKind::start_ordered, "start-ordered"},
    {EventKind::stop_ordered, "stop-ordered"},
    {EventKind::restart_ordered, "restart-ordered"},
    {EventKind::down_ordered, "down-ordered"},
    {EventKind::up_ordered, "up-ordered"},
    {EventKind::reload_ordered, "reload-ordered"},
    {EventKind::order_done, "order-done"},
    {EventKind::warden_began, "warden-began"},
    {EventKind::warden_ended, "warden-ended"},
    {EventKind::autostart, "autostart"},
    {EventKind::adoption, "adoption"},
    {EventKind::revival, "revival"},
    {EventKind::take_over, "take-over"},
    {EventKind::tree_killed, "tree-killed"},
    {EventKind::xid, "xid"},
    {EventKind::gpu_off_bus, "gpu-off-bus"},
    {EventKind::kernel_log_lost, "kernel-log-lost"},
    {EventKind::kernel_log_unreadable, "kernel-log-unreadable"},
    {EventKind::kernel_log_read, "kernel-log-read"},
    {EventKind::verdict_changed, "verdict-changed"},
    {EventKind::cordon_ordered, "cordon-ordered"},
    {EventKind::uncordon_ordered, "uncordon-ordered"},
    {EventKind::drain_ordered, "drain-ordered"},
    {EventKind::quarantined, "quarantined"},
    {EventKind::quarantine_ended, "quarantine-ended"},
    {EventKind::would_restart, "would-restart"},
    {EventKind::healing, "healing"},
    {EventKind::heal_refused, "heal-refused"},
    {EventKind::hook, "hook"},
    {EventKind::hook_done, "hook-done"},
    {EventKind::canary, "canary"},
    {EventKind::card_gone, "card-gone"},
    {EventKind::temp_aged, "temp-aged"},
    {EventKind::reap_ordered, "reap-ordered"},
    {EventKind::orphan_seen, "orphan"},
    {EventKind::idle_holder_seen, "idle-holder"},
    {EventKind::pruned, "pruned"},
    {EventKind::set_aside, "set-aside"},
    {EventKind::missed, "missed"},
}};

}  // namespace

std::string_view to_string(EventKind kind) {
  const auto* at = std::ranges::find(kNames, kind, &std::pair<EventKind, std::string_view>::first);
  return at == kNames.end() ? "unknown" : at->second;
}

bool is_intent(EventKind kind) {
  switch (kind) {
    case EventKind::starting:
    case EventKind::ending:
    case EventKind::killing:
    case EventKind::start_ordered:
    case EventKind::stop_ordered:
    case EventKind::restart_ordered:
    case EventKind::down_ordered:
    case EventKind::up_ordered:
    case EventKind::reload_ordered:
    case EventKind::autostart:
    case EventKind::adoption:
    case EventKind::revival:
    case EventKind::take_over:
    case EventKind::tree_killed:
    case EventKind::cordon_ordered:
    case EventKind::uncordon_ordered:
    case EventKind::drain_ordered:
    case EventKind::quarantined:
    case EventKind::healing:
    case EventKind::hook:
    case EventKind::reap_ordered:
      return true;
    default:
      return false;
  }
}

std::string without_commands(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (auto at = text.find(" ("); at != text.npos; at = text.find(" (", at + 1)) {
    auto begin = at;
    while (begin > 0 && is_digit(text[begin - 1])) --begin;
    const auto before = text.substr(0, begin);
    if (begin != at && (before.ends_with("pid ") || before.ends_with(": ")))
      return std::string(text.substr(0, at));
  }
  return std::string(text);
}

std::string describe(const std::optional<Actor>& actor) {
  if (!actor) return {};
  std::string text = "uid " + std::to_string(actor->uid);
  if (actor->has_login && actor->login_uid != actor->uid)
    text += " (logged in as " + std::to_string(actor->login_uid) + ")";
  if (actor->pid.number > 0) text += ", pid " + std::to_string(actor->pid.number);
  if (!actor->command.empty()) text += ": " + printable(actor->command.view());
  return text;
}

}  // namespace gpuward
