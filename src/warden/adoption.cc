// Trees that live and whose anchor is another than the one we started, or has died.

#include <poll.h>

#include <algorithm>
#include <utility>

#include "os/clock.h"
#include "warden/fleet.h"

namespace gpuward::warden {
namespace {

constexpr auto kDying = std::chrono::milliseconds(50);
constexpr auto kAdoptAgainAtMost = std::chrono::milliseconds(30'000);
constexpr auto kReviveWindow = std::chrono::minutes(1);
constexpr std::size_t kMostRevivals = 5;
// Of so many anchors that die at once each new one looks at every process itself.
constexpr std::uint32_t kAskThemselves = 4;
constexpr auto kAtOnce = std::chrono::milliseconds(500);

}  // namespace

Result<void> Fleet::adopt_all() {
  auto folders = control::list_anchors(home_);
  if (!folders) return fail(std::move(folders).error());
  for (const auto& folder : *folders) {
    Member& member = members_[folder.service];
    member.folder = folder;
    clerk_.import(folder);
    auto record = control::read_record(folder);
    if (!record) continue;
    member.state = std::move(record->state);
    member.seen = true;
  }
  look_for_marks();
  for (const auto& folder : *folders) take_over(members_[folder.service]);
  for (auto& [name, member] : members_)
    if (!member.seen)
      member.trouble = control::lost_tree(home_, member.folder, groups_).value_or("");
  // What `run` started and what has ended with proof is not told of for ever.
  std::erase_if(members_, [this](const auto& item) {
    const Member& member = item.second;
    if (member.model || member.alive || !member.trouble.empty()) return false;
    if (!member.seen) return true;
    const bool over = is_over(member.state.phase) && !member.state.receipt.only_seen;
    if (!over || unowned(member)) return false;
    clerk_.import_now(member.folder);
    return control::remove_folder(member.folder).has_value();
  });
  return {};
}

Result<void> Fleet::find_newcomers() {
  auto folders = control::list_anchors(home_);
  if (!folders) return fail(std::move(folders).error());
  for (const auto& folder : *folders) {
    const Member* known = find(folder.service);
    if ((known != nullptr && known->alive) || !control::anchor_lives(folder)) continue;
    Member& member = members_[folder.service];
    member.folder = folder;
    take_over(member);
    if (!member.seen && !member.model) members_.erase(folder.service);  // its record is yet to come
  }
  return {};
}

void Fleet::on_gone(const std::string& name) {
  Member* member = find(name);
  if (member == nullptr) return;
  come_up(*member, false);
  if (member->adopting) return adoption_failed(*member, "its new anchor ended without a word");
  member->alive = false;
  member->link.reset();
  const Instant now = os::now();
  gone_lately_ = now - std::exchange(gone_, now) < kAtOnce ? gone_lately_ + 1 : 1;
  const bool many = gone_lately_ > kAskThemselves;
  if (many && !marks_.of(member->state).anchor) look_for_marks();
  end_with_its_anchor(*member);
  clerk_.import(member->folder);
  take_over(*member);  // at once: a service that prints needs a reader (harm.md 18)
  revive_if_gone(*member);
  changed();
}

// For all whose anchor is dead by now, so that not each new one has to look at every process.
void Fleet::look_for_marks() {
  std::set<ProcessId> dead;
  for (const auto& [name, member] : members_)
    if (member.seen && !control::anchor_lives(member.folder)) dead.insert(member.state.anchor);
  marks_ = control::MarkedProcesses::look(std::move(dead));
}

// `on_anchor_death = "kill"`. The lock of an anchor that is just dying goes a moment after its
// link.
void Fleet::end_with_its_anchor(const Member& member) {
  const auto record = control::read_record(member.folder);
  if (!record || record->plan.on_anchor_death != OnAnchorDeath::kill) return;
  if (is_over(record->state.phase)) return;
  const Instant give_up = os::now() + kDying;
  while (control::anchor_lives(member.folder) && os::now() < give_up) ::poll(nullptr, 0, 1);
  if (control::anchor_lives(member.folder)) return;
  clerk_.note(EventKind::tree_killed, member.folder.service,
              "its anchor died: 'on_anchor_death' says so");
  control::kill_recorded(*record);
}

void Fleet::adoption_failed(Member& member, const std::string& why) {
  if (member.link) member.link->close();
  member.link.reset();
  member.adopting = member.alive = false;
  if (!connect(member)) {  // unless another one came up meanwhile
    const ProcessId anchor = member.state.anchor;
    const bool meant = member.plan.on_anchor_death == OnAnchorDeath::kill && !tree_lives(member);
    member.trouble =
        meant ? "its anchor died, and its processes with it: 'on_anchor_death' says so"
        : os::lives(anchor) && control::anchor_lives(member.folder)
            ? "its anchor (pid " + std::to_string(anchor.pid.number) +
                  ") lives but cannot be reached; to end it and its tree: kill -TERM " +
                  std::to_string(anchor.pid.number)
            : "its anchor died and its tree could not be taken over: " + why;
    revive_if_gone(member);
    if (!member.alive) adopt_again_later();
  }
  changed();
}

// A tree without an anchor is not left to itself because one try failed.
void Fleet::adopt_again_later() {
  retry_.expires_after(retry_pause_);
  retry_pause_ = std::min(retry_pause_ * 2, kAdoptAgainAtMost);
  retry_.async_wait([this](const boost::system::error_code& code) {
    if (code) return;
    for (auto& [name, member] : members_) {
      if (member.alive || !member.seen) continue;
      take_over(member);
      revive_if_gone(member);
    }
    changed();
  });
}

// An anchor that died between two lives of its service, or together with the whole tree, leaves
// nothing to take over and nobody who would start it again.
void Fleet::revive_if_gone(Member& member) {
  const AnchorState& state = member.state;
  if (member.alive || !member.model || is_over(state.phase) || tree_lives(member)) return;
  if (state.stop_asked || member.told_to_stop) {
    member.end_unseen = state.cgroup.empty() || state.outside != 0;
    member.state.phase = Phase::stopped;
    control::remove_empty_group(home_, member.folder);
    return;
  }
  if (member.model->restart == RestartPolicy::never) return;
  if (auto why = why_not_started(member)) {
    member.trouble = "not started: " + *why;
    return;
  }
  const Instant now = os::now();
  std::erase_if(member.revived, [&](Instant at) { return now - at > kReviveWindow; });
  if (member.revived.size() >= kMostRevivals) {
    member.trouble = "its anchor died " + std::to_string(kMostRevivals + 1) + " times in a minute";
    return;
  }
  member.revived.push_back(now);
  clerk_.note(EventKind::revival, member.folder.service, "its anchor and its tree are gone");
  if (!start(member.folder.service)) adopt_again_later();  // why is kept in Member::trouble
}

// The record is read anew: it is written before each act, the last news came after one.
void Fleet::take_over(Member& member) {
  auto record = control::read_record(member.folder);
  if (!record) return;  // a folder without a record: nothing was ever started there
  member.plan = std::move(record->plan);
  member.state = record->state;
  member.seen = true;
  if (control::anchor_lives(member.folder) && connect(member)) return;
  if (!tree_lives(member)) {
    // An anchor that came to its end has left nothing.
    if (!is_over(member.state.phase)) control::remove_empty_group(home_, member.folder);
    return;
  }
  clerk_.note(EventKind::adoption, member.folder.service,
              "its anchor, pid " + std::to_string(member.state.anchor.pid.number) +
                  ", has died and its tree lives");
  // Dead, or dying: the anchor that adopts waits a moment for the lock.
  auto adopter = control::launch_adopter(member.folder, marks_.of(member.state));
  if (!adopter) return adoption_failed(member, adopter.error().message());
  member.adopting = true;
  watch(member, std::move(adopter->channel));
}

bool Fleet::connect(Member& member) {
  auto channel = control::connect_anchor(member.folder);
  if (!channel) return false;
  member.trouble.clear();
  watch(member, std::move(*channel));
  return member.alive;
}

}  // namespace gpuward::warden
