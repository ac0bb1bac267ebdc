#include "warden/cards.h"

#include <algorithm>
#include <cstdio>

#include "control/books.h"
#include "os/clock.h"

namespace gpuward::warden {
namespace {

LedgerEntry about(EventKind kind, const CardMark& mark) {
  LedgerEntry entry;
  entry.kind = kind;
  entry.why = "GPU " + std::to_string(mark.index) + " (" + mark.uuid + ")";
  return entry;
}

}  // namespace

void Cards::open() {
  if (const auto boot = os::boot_id()) boot_ = std::string(boot->view());
  std::string trouble;
  book_ = control::read_or_set_aside<CardBook>(path_, &trouble);
  unread_ = !trouble.empty();
  if (unread_) {
    LedgerEntry entry;
    entry.kind = EventKind::set_aside;
    entry.why = "which cards are out of use is not known any more";
    entry.evidence = trouble;
    clerk_.note({entry});
    std::fprintf(stderr, "gpuwardd: which cards are out of use is not known any more: %s\n",
                 trouble.c_str());
  }
  CardBook next = book_;
  bool changed = false;
  for (auto& mark : next.marks) {
    if (!end_by_boot(mark, boot_)) continue;
    auto entry = about(EventKind::quarantine_ended, mark);
    mended_.insert(mark.uuid);
    changed = true;
    entry.evidence = "this machine was started anew";
    clerk_.note({entry});
  }
  if (changed) keep_or_say(std::move(next));
}

Result<void> Cards::write(const CardBook& next) {
  if (unread_) GPUWARD_TRY(control::keep_unread(path_));
  unread_ = false;
  return control::write_book(path_, next);
}

Result<void> Cards::keep(CardBook next) {
  tidy(next);
  GPUWARD_TRY(write(next));
  book_ = std::move(next);
  return {};
}

// What was found holds, although the next warden may not know of it.
void Cards::keep_or_say(CardBook next) {
  tidy(next);
  auto written = write(next);
  book_ = std::move(next);
  if (!written)
    std::fprintf(stderr, "gpuwardd: which cards are out of use cannot be kept: %s\n",
                 written.error().message().c_str());
}

// A card that is off the bus is often still listed; one that is not was taken out, or its driver.
void Cards::note_gone(const GpuSnapshot& snapshot) const {
  if (snapshot.sight != GpuSight::visible && snapshot.sight != GpuSight::no_gpu) return;
  for (const auto& device : look_.devices) {
    const bool is_there = std::ranges::find(snapshot.devices, device.uuid, &GpuDevice::uuid) !=
                          snapshot.devices.end();
    if (device.uuid.empty() || is_there) continue;
    CardMark gone;
    gone.uuid = device.uuid;
    gone.index = device.index;
    auto entry = about(EventKind::card_gone, gone);
    entry.evidence = "the driver lists it no more";
    if (device.state != GpuState::ok)
      entry.evidence += "; it was " + std::string(to_string(device.state));
    clerk_.note({entry});
  }
}

void Cards::see(const GpuSnapshot& snapshot, Instant now) {
  note_gone(snapshot);
  look_.sight = snapshot.sight;
  look_.detail = snapshot.detail;
  look_.devices.clear();
  std::map<std::string, Trouble> troubles;
  for (const auto& seen : snapshot.devices) {
    GpuDevice& device = look_.devices.emplace_back();
    device.uuid = seen.uuid;
    device.name = seen.name;
    device.index = seen.index;
    device.state = seen.state;
    device.place.pci_bus_id = seen.place.pci_bus_id;
  }
  for (const auto& device : look_.devices) {
    const auto finding = finding_of(device);
    const auto* mark = find_mark(book_, device.uuid);
    if (!finding && device.state == GpuState::ok && mark != nullptr) mended_.insert(device.uuid);
    if (!finding) continue;
    const auto before = troubles_.find(device.uuid);
    const bool goes_on = before != troubles_.end() && before->second.remedy == finding->remedy;
    const Instant since = goes_on ? before->second.since : now;
    troubles[device.uuid] = {finding->remedy, since};
    if (now - since >= kPatience) quarantine(device.uuid, *finding);
  }
  troubles_ = std::move(troubles);
}

void Cards::quarantine(const std::string& uuid, const CardFinding& finding) {
  const auto card = std::ranges::find(look_.devices, uuid, &GpuDevice::uuid);
  if (card == look_.devices.end()) return;
  CardBook next = book_;
  CardMark& mark = gpuward::mark_of(next, *card);
  CardFinding found = finding;
  if (!mark.quarantined && !mended_.contains(uuid)) {  // it never went
    found.remedy = std::max(found.remedy, mark.remedy);
    mark.remedy = CardRemedy::none;
  }
  if (!gpuward::quarantine(mark, found, os::unix_ms_now(), boot_)) return;
  mended_.erase(uuid);
  auto entry = about(EventKind::quarantined, mark);
  entry.evidence = finding.rule + ": " + finding.evidence;
  entry.outcome = "advice: " + advice_for(mark.remedy, mark.index);
  clerk_.note({entry});
  keep_or_say(std::move(next));
}

void Cards::hear(const std::string& uuid, std::span<const XidIncident> heard) {
  if (heard.empty()) return;
  if (const auto finding = finding_of(heard, find_mark(book_, uuid), boot_))
    quarantine(uuid, *finding);
}

void Cards::is_on(const std::string& service, std::uint64_t mark,
                  const std::set<std::string>& uuids) {
  CardBook next = book_;
  if (remember(next, service, mark, {uuids.begin(), uuids.end()})) keep_or_say(std::move(next));
}

Result<GpuDevice> Cards::choose(const std::string& text) const {
  std::vector<CardName> names;
  names.reserve(look_.devices.size());
  for (const auto& device : look_.devices)
    names.push_back({device.index, device.uuid, device.place.pci_bus_id});
  const auto choice = choose_card(names, text);
  if (choice.at) return look_.devices[*choice.at];
  for (const auto& mark : book_.marks) {
    if (mark.uuid != text) continue;
    GpuDevice gone;
    gone.uuid = mark.uuid;
    gone.name = mark.name;
    gone.index = mark.index;
    return gone;
  }
  const auto note = describe(look_.sight, look_.detail);
  return fail(Errc::not_found, choice.why_not + (note.empty() ? "" : ": " + note));
}

CardMark Cards::mark_of(const GpuDevice& card) const {
  CardBook copy;
  if (const auto* mark = find_mark(book_, card.uuid)) copy.marks.push_back(*mark);
  return gpuward::mark_of(copy, card);
}

Result<void> Cards::cordon(const GpuDevice& card, const std::string& by, const std::string& why,
                           bool drained) {
  CardBook next = book_;
  CardMark& mark = gpuward::mark_of(next, card);
  mark.drained = drained || (mark.cordoned && mark.drained);
  mark.cordoned = true;
  mark.cordoned_by = by;
  mark.cordoned_why = why;
  mark.cordoned_unix_ms = os::unix_ms_now();
  return keep(std::move(next));
}

Result<void> Cards::uncordon(const GpuDevice& card) {
  CardBook next = book_;
  CardMark& mark = gpuward::mark_of(next, card);
  lift(mark, os::now(), boot_);
  GPUWARD_TRY(keep(std::move(next)));
  if (troubles_.contains(card.uuid)) mended_.erase(card.uuid);
  return {};
}

bool Cards::out_of_use(const std::set<std::string>& uuids) const {
  return std::ranges::any_of(uuids, [&](const std::string& uuid) {
    const auto* mark = find_mark(book_, uuid);
    return mark != nullptr && (mark->cordoned || mark->quarantined);
  });
}

}  // namespace gpuward::warden
