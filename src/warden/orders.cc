// What is ordered, and the record of it: before it is done, and what came of it.

#include <algorithm>
#include <utility>

#include "control/actor.h"
#include "domain/exit_code.h"
#include "warden/warden.h"

namespace gpuward::warden {
namespace {

constexpr std::size_t kLongestNote = 500;

std::optional<EventKind> event_of(WardenRequest::What what) {
  using What = WardenRequest::What;
  switch (what) {
    case What::start:
      return EventKind::start_ordered;
    case What::stop:
      return EventKind::stop_ordered;
    case What::restart:
      return EventKind::restart_ordered;
    case What::down:
      return EventKind::down_ordered;
    case What::start_autostart:
      return EventKind::up_ordered;
    case What::reload:
      return EventKind::reload_ordered;
    case What::take_over:
      return EventKind::take_over;
    case What::cordon:
      return EventKind::cordon_ordered;
    case What::uncordon:
      return EventKind::uncordon_ordered;
    case What::drain:
      return EventKind::drain_ordered;
    case What::reap:
      return EventKind::reap_ordered;
    case What::reap_ended:
    case What::holders:
    case What::take_over_ended:
    case What::drain_plan:
    case What::status:
    case What::wait_autostart:
    case What::plan:
      return std::nullopt;
  }
  return std::nullopt;
}

// One for each service by name, else one for the whole.
std::vector<LedgerEntry> orders_of(const WardenRequest& request, const Actor& actor) {
  const auto kind = event_of(request.what);
  if (!kind) return {};
  LedgerEntry entry;
  entry.kind = *kind;
  entry.actor = actor;
  entry.evidence = without_commands(request.note.substr(0, kLongestNote));
  if (!request.gpu.empty()) entry.why = "GPU " + request.gpu.substr(0, 80);
  if (request.anyway) entry.why = "--anyway: also onto a card that is out of use";
  if (request.services.empty()) return {entry};
  std::vector<LedgerEntry> entries;
  for (const auto& service : request.services) {
    entry.service = service;
    entries.push_back(entry);
  }
  return entries;
}

}  // namespace

// What is ordered is on record before it is done.
void Warden::order(const std::shared_ptr<Link>& client, const WardenRequest& request,
                   const os::Peer& who) {
  using What = WardenRequest::What;
  if (request.what == What::take_over_ended || request.what == What::reap_ended) {
    note_ended_by_hand(request, who);
    return reply(client, {});
  }
  auto entries = orders_of(request, control::actor_of(who));
  if (entries.empty()) return begin_operation(client, request, {});
  const std::size_t count = entries.size();
  clerk_.note_before(std::move(entries), [this, client, request, count, who](std::uint64_t last) {
    std::vector<std::uint64_t> numbers;
    numbers.reserve(count);
    for (std::size_t n = 0; n < count; ++n)
      numbers.push_back(last == 0 ? 0 : last - (count - 1 - n));
    if (leaving_) return refuse(client, request, numbers);  // `down` came while this waited
    if (request.what == What::take_over || request.what == What::reap) {
      for (const auto& service : request.services) by_hand_[service] = last;
      if (request.services.empty()) by_hand_[""] = last;
      return reply(client, {});
    }
    if (request.what == What::cordon || request.what == What::uncordon ||
        request.what == What::drain)
      return order_card(client, request, who, numbers);
    if (request.what != What::reload) return begin_operation(client, request, std::move(numbers));
    reload(client, request, std::move(numbers));
  });
}

void Warden::refuse(const std::shared_ptr<Link>& client, const WardenRequest& request,
                    const std::vector<std::uint64_t>& orders) {
  WardenAnswer answer;
  answer.exit_code = kFailed;
  answer.error = "the warden is leaving: gpuward down";
  note_outcome(answer, request, orders);
  if (client) reply(client, answer);
}

void Warden::note_ended_by_hand(const WardenRequest& request, const os::Peer& who) {
  Clerk::Entries entries;
  const std::vector<std::string> of_none = {""};
  for (const auto& service : request.services.empty() ? of_none : request.services) {
    LedgerEntry entry;
    entry.kind = EventKind::order_done;
    entry.service = service;
    entry.actor = control::actor_of(who);
    entry.outcome = without_commands(request.note.substr(0, kLongestNote));
    entry.of = std::exchange(by_hand_[service], 0);
    entries.push_back(std::move(entry));
  }
  clerk_.note(std::move(entries));
}

// For each service by name, else for the whole.
void Warden::note_outcome(const WardenAnswer& answer, const WardenRequest& request,
                          const std::vector<std::uint64_t>& orders) {
  Clerk::Entries entries;
  const auto add = [&](const std::string& service, std::uint8_t code, const std::string& text) {
    LedgerEntry entry;
    entry.kind = EventKind::order_done;
    entry.service = service;
    entry.outcome =
        "exit " + std::to_string(code) + (text.empty() ? "" : ": " + without_commands(text));
    const auto at = std::ranges::find(request.services, service);
    const auto index = at == request.services.end() || orders.size() < request.services.size()
                           ? 0
                           : at - request.services.begin();
    entry.of = orders.empty() ? 0 : orders[static_cast<std::size_t>(index)];
    entries.push_back(std::move(entry));
  };
  for (const auto& outcome : answer.outcomes) add(outcome.service, outcome.exit_code, outcome.text);
  if (answer.outcomes.empty()) add("", answer.exit_code, answer.error);
  clerk_.note(std::move(entries));
}

}  // namespace gpuward::warden
