// What people order of cards: cordon, uncordon, drain.

#include <algorithm>

#include "control/actor.h"
#include "control/observe.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/process.h"
#include "warden/warden.h"

namespace gpuward::warden {
namespace {
constexpr auto kLookWithin = std::chrono::seconds(3);  // a card that hangs is told of by then
}  // namespace

// The driver's rows of living processes, with the service that each belongs to. Where its pids are
// not ours, nobody can be named (harm.md 4).
CardAnswer Warden::who_is_on(const GpuDevice& card) const {
  CardAnswer answer;
  answer.mark = cards_.mark_of(card);
  const auto& gpu = fleet_.gpu();
  const auto device = std::ranges::find(gpu.devices, card.uuid, &GpuDevice::uuid);
  if (device == gpu.devices.end() || !gpu.pids_are_ours || !device->processes_visible)
    return answer;
  answer.holders_visible = true;
  std::map<std::uint32_t, std::string> owners;
  for (const auto& [name, member] : fleet_.members()) {
    if (!member.seen || device->processes.empty()) continue;
    for (const auto pid : control::tree_pids(member.folder, member.state)) owners[pid] = name;
  }
  for (const auto& row : device->processes) {
    CardHolder holder;
    holder.id = {Pid{static_cast<pid_t>(row.pid)}, row.start_ticks};
    // One that has no start time is nobody who could be seen here, and holds the card all the same.
    if (row.start_ticks != 0 && !os::lives(holder.id)) continue;
    // In a tree of ours now, if only since this moment: then its row has no start time yet.
    if (const auto owner = owners.find(row.pid); owner != owners.end())
      holder.service = owner->second;
    holder.memory = row.memory.maybe();
    answer.holders.push_back(std::move(holder));
  }
  return answer;
}

WardenAnswer Warden::answer_drain_plan(const std::string& gpu) const {
  WardenAnswer answer;
  const auto card = cards_.choose(gpu);
  if (card)
    answer.card = who_is_on(*card);
  else
    answer.error = std::string(card.error().doing.view());
  answer.exit_code = card ? kDone : kFailed;
  return answer;
}

void Warden::order_card(const std::shared_ptr<Link>& client, const WardenRequest& request,
                        const os::Peer& who, const std::vector<std::uint64_t>& orders) {
  using What = WardenRequest::What;
  const auto card = cards_.choose(request.gpu);
  auto set = card ? request.what == What::uncordon
                        ? cards_.uncordon(*card)
                        : cards_.cordon(*card, describe(control::actor_of(who)), request.note,
                                        request.what == What::drain)
                  : Result<void>(fail(card.error()));
  if (set && request.what == What::uncordon)
    if (const auto address = kernel_log_.address_of(*card, fleet_.gpu()))
      kernel_log_.clear(*address);  // a person says that it is well
  if (set && request.what == What::drain) return begin_drain(client, request, *card, orders);
  WardenAnswer answer;
  if (!card)
    answer.error = std::string(card.error().doing.view());
  else if (!set)
    answer.error = "nothing was changed: " + set.error().message();
  else
    answer.card = who_is_on(*card);
  answer.exit_code = set ? kDone : kFailed;
  note_outcome(answer, request, orders);
  reply(client, answer);
}

// Stops what is on the card, as `stop` does: along the links, and nothing that others need.
void Warden::begin_drain(const std::shared_ptr<Link>& client, const WardenRequest& request,
                         const GpuDevice& card, const std::vector<std::uint64_t>& orders) {
  WardenRequest stop = request;
  stop.what = WardenRequest::What::stop;
  for (const auto& holder : who_is_on(card).holders)
    if (!holder.service.empty() &&
        std::ranges::find(stop.services, holder.service) == stop.services.end())
      stop.services.push_back(holder.service);
  begin_operation(client, stop, orders, card.uuid);
}

// What was on the card at the last look may have ended since.
bool Warden::looked_since_its_end(Pending& drain) {
  const Instant now = os::now();
  if (!drain.ended) {
    drain.ended = now;
    sentinel_.look_now();
  }
  const Instant taken{std::chrono::nanoseconds(fleet_.gpu().taken_ns)};
  return taken > *drain.ended || now - *drain.ended >= kLookWithin;
}

// After a drain: whoever is on the card still makes it unproven that the card is free.
void Warden::add_card(WardenAnswer& answer, const std::string& uuid) const {
  const auto card = cards_.choose(uuid);
  if (!card) return;
  answer.card = who_is_on(*card);
  if (!answer.card->holders.empty() || !answer.card->holders_visible)
    answer.exit_code = std::max<std::uint8_t>(answer.exit_code, kNotProven);
}

}  // namespace gpuward::warden
