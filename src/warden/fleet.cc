#include "warden/fleet.h"

#include <poll.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <thread>
#include <utility>

#include "config/keys.h"
#include "control/launch_plan.h"
#include "os/clock.h"

namespace gpuward::warden {
namespace {

constexpr auto kDying = std::chrono::milliseconds(50);
constexpr auto kAdoptAgain = std::chrono::milliseconds(1000);
constexpr auto kAdoptAgainAtMost = std::chrono::milliseconds(30'000);
constexpr auto kReviveWindow = std::chrono::minutes(1);
constexpr std::size_t kMostRevivals = 5;
// Of so many anchors that die at once each new one looks at every process itself.
constexpr std::uint32_t kAskThemselves = 4;
constexpr auto kAtOnce = std::chrono::milliseconds(500);

}  // namespace

bool Fleet::tree_lives(const Member& member) const {
  return control::tree_lives(member.folder, member.state, marks_);
}

bool Fleet::unowned(const Member& member) const {
  return !member.alive && member.seen && tree_lives(member);
}

void Fleet::configure(std::vector<ServiceModel> services) {
  for (auto& service : services) {
    Member& member = members_[service.name];
    member.folder = control::anchor_folder(home_, service.name, 0);
    member.model = std::move(service);
  }
}

std::vector<ServiceChange> Fleet::compare_with(const std::vector<ServiceModel>& services) const {
  std::vector<ServiceChange> changes;
  for (const auto& service : services) {
    const auto at = members_.find(service.name);
    ServiceChange change;
    change.service = service.name;
    if (at == members_.end() || !at->second.model) {
      change.kind = ServiceChange::Kind::added;
      changes.push_back(std::move(change));
      continue;
    }
    const Member& member = at->second;
    change.fields = compare(*member.model, service);
    change.runs = member.alive;
    change.stale = member.is_older_than(service);
    if (!change.fields.empty() || change.stale) changes.push_back(std::move(change));
  }
  for (const auto& [name, member] : members_) {
    if (!member.model || std::ranges::find(services, name, &ServiceModel::name) != services.end())
      continue;
    ServiceChange change;
    change.service = name;
    change.kind = ServiceChange::Kind::removed;
    change.runs = member.alive;
    changes.push_back(std::move(change));
  }
  return changes;
}

void Fleet::configure_again(std::vector<ServiceModel> services) {
  std::set<std::string> removed;
  for (auto& [name, member] : members_) {
    if (!member.model || std::ranges::find(services, name, &ServiceModel::name) != services.end())
      continue;
    member.model.reset();
    removed.insert(name);
  }
  configure(std::move(services));
  for (auto& [name, member] : members_) {
    if (!member.model || !member.link) continue;
    AnchorRequest request;
    request.what = AnchorRequest::What::settings;
    request.settings = live_settings(*member.model);
    (void)member.link->send(request);
  }
  std::erase_if(members_, [&](const auto& item) {
    return removed.contains(item.first) && !item.second.alive && !unowned(item.second);
  });
}

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

Fleet::Member* Fleet::find(const std::string& name) {
  auto at = members_.find(name);
  return at == members_.end() ? nullptr : &at->second;
}

std::string Fleet::unknown(const std::string& name) const {
  std::vector<std::string_view> known;
  known.reserve(members_.size());
  for (const auto& [other, member] : members_) known.push_back(other);
  const auto near = config::nearest(name, known);
  return near.empty()
             ? "no such service; one that is new in a file is taken over by: gpuward reload"
             : "no such service; did you mean '" + std::string(near) + "'?";
}

void Fleet::watch(Member& member, control::Channel channel) {
  auto link = Link::take(loop_, channel.take_socket(), wire::kMaxSmall);
  if (!link) {
    member.trouble = link.error().message();
    return;
  }
  member.link = *link;
  member.alive = true;
  ++member.connections;
  member.connected = os::now();
  member.heard = false;
  const std::string name = member.folder.service;
  member.link->start([this, name](const wire::Body& body) { on_body(name, body); },
                     [this, name] { on_gone(name); });
  AnchorRequest subscribe;
  subscribe.sees_gpu = true;
  (void)member.link->send(subscribe);
}

void Fleet::on_body(const std::string& name, const wire::Body& body) {
  Member* member = find(name);
  auto news = wire::decode<StateNews>(body);
  if (member == nullptr || !news) return;
  const bool first = !member->heard;
  member->heard = true;
  come_up(*member, false);
  if (member->adopting && first) {
    if (control::is_refusal(news->state))
      return adoption_failed(*member, std::string(news->state.reason.view()));
    member->adopting = false;
    member->trouble.clear();
    retry_pause_ = kAdoptAgain;
  }
  member->state = news->state;
  member->seen = true;
  clerk_.import(member->folder);
  answer_memory(*member);
  changed();
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

std::optional<std::string> Fleet::lost(const Member& member) const {
  control::HomeGroups groups;
  return control::lost_tree(home_, member.folder, groups);
}

void Fleet::changed() {
  if (on_change_) on_change_();
}

// Answered by the first look that is younger than the empty tree, and at once where nobody can
// look.
void Fleet::answer_memory(Member& member) {
  if (!member.state.wants_memory_proof || !member.link) return;
  if (gpu_.sight == GpuSight::unknown) return;
  if (gpu_.sight == GpuSight::visible && gpu_.taken_ns < member.state.since_ns) return;
  for (const auto& process : member.state.receipt.released.list)
    member.witness.forget(static_cast<std::uint32_t>(process.id.pid.number));
  const auto judged = member.witness.judge(gpu_);
  if (judged.proof == MemoryProof::held) return;  // not yet: the anchor has the deadline
  AnchorRequest answer;
  answer.what = AnchorRequest::What::memory_answer;
  answer.generation = member.state.receipt.generation;
  answer.proof = judged.proof;
  answer.bytes = judged.returned;
  (void)member.link->send(answer);
}

bool Fleet::anything_lives() const {
  control::HomeGroups groups;
  return std::ranges::any_of(members_, [&](const auto& item) {
    const Member& member = item.second;
    return member.alive || unowned(member) ||
           (!member.seen && control::lost_tree(home_, member.folder, groups));
  });
}

bool Fleet::waits_for_memory() const {
  return std::ranges::any_of(members_, [](const auto& item) {
    return item.second.alive && item.second.state.wants_memory_proof;
  });
}

void Fleet::witness(Member& member) {
  member.pids.clear();
  if (!member.alive || member.state.phase == Phase::settling || is_over(member.state.phase)) return;
  if (member.witnessed != member.state.generation) {
    member.witness = MemoryWitness();
    member.cards.clear();
    member.witnessed = member.state.generation;
  }
  // Walking every tree each second costs more than the look itself; an empty card needs no names.
  const bool anyone =
      std::ranges::any_of(gpu_.devices, [](const auto& d) { return !d.processes.empty(); });
  if (anyone) member.pids = control::tree_pids(member.folder, member.state);
  member.witness.see(gpu_, member.pids);
  note_cards(member, member.pids);
  if (member.witness.held() == member.told_held || !member.link) return;
  member.told_held = member.witness.held();
  AnchorRequest held;
  held.what = AnchorRequest::What::gpu_held;
  held.bytes = member.told_held;
  (void)member.link->send(held);
}

void Fleet::note_cards(Member& member, const std::set<std::uint32_t>& pids) {
  if (!gpu_.pids_are_ours) return;  // harm.md 4
  bool more = false;
  for (const auto& device : gpu_.devices)
    if (std::ranges::any_of(device.processes,
                            [&](const GpuProcess& row) { return pids.contains(row.pid); }))
      more |= member.cards.insert(device.uuid).second;
  if (more && on_cards_) on_cards_(member);
}

StartLinks Fleet::links() const {
  StartLinks all;
  for (const auto& [name, member] : members_) {
    if (!member.model) continue;
    auto links = links_of(member.model->needs, member.model->after);
    if (!links.empty()) all[name] = std::move(links);
  }
  return all;
}

void Fleet::forget_held_back() {
  for (auto& [name, member] : members_) member.held_back.clear();
}

Result<void> Fleet::start(const std::string& name) {
  Member* member = find(name);
  if (member == nullptr) return fail(Errc::not_found, "start '" + name + "': no such service");
  member->waits = false;
  member->told_to_stop = member->end_unseen = false;
  if (unowned(*member)) take_over(*member);
  if (unowned(*member)) return fail(Errc::refused, member->trouble);
  if (member->alive && !is_over(member->state.phase)) return {};
  // What a shared look has missed, because it is a second old, its anchor refuses (EBUSY).
  if (auto why = control::lost_tree(home_, member->folder, groups_)) {
    member->trouble = *why;
    return fail(Errc::refused, *why);
  }
  if (!member->model)
    return fail(Errc::refused,
                "start '" + name + "': it was started by hand and is in no configuration file");
  member->trouble.clear();
  control::LaunchContext context;
  context.environment = control::own_environment();
  auto plan = control::make_plan(*member->model, 0, home_, context);
  // Where others ended.
  const auto last = control::read_record(member->folder);
  const auto marked = last ? marks_.of(last->state) : control::MarkedTree();
  auto launched = plan ? control::launch_anchor(*plan, home_, marked)
                       : Result<control::Launched>(fail(plan.error()));
  if (!launched) {
    member->trouble = launched.error().message();
    return fail(std::move(launched).error());
  }
  member->plan = std::move(*plan);
  member->state = AnchorState{};
  member->state.phase = Phase::starting;
  member->state.since_ns = os::now().time_since_epoch().count();
  member->seen = true;
  watch(*member, std::move(launched->channel));
  come_up(*member, member->alive);
  return {};
}

void Fleet::start_soon(const std::string& name) {
  Member* member = find(name);
  if (member == nullptr || (member->alive && !is_over(member->state.phase))) return;
  if (std::exchange(member->waits, true)) return;
  waiting_.push_back(name);
  start_waiting();
}

void Fleet::come_up(Member& member, bool begins) {
  if (member.coming_up == begins) return;
  member.coming_up = begins;
  coming_up_ += begins ? 1 : -1;
  if (!begins) start_waiting();
}

// One in a turn of the loop, so that news and requests are read in between.
void Fleet::start_waiting() {
  static const std::size_t most = std::max(8U, 2 * std::thread::hardware_concurrency());
  if (waiting_.empty() || coming_up_ >= most || std::exchange(starts_soon_, true)) return;
  asio::post(loop_, [this] {
    starts_soon_ = false;
    const std::string name = std::move(waiting_.front());
    waiting_.pop_front();
    const Member* member = find(name);
    auto started = member != nullptr && member->waits ? start(name) : Result<void>{};
    if (!started)
      std::fprintf(stderr, "gpuwardd: %s: %s\n", name.c_str(), started.error().message().c_str());
    if (member == nullptr || !member->coming_up) changed();  // else its anchor's first word does
    start_waiting();
  });
}

Result<void> Fleet::request(const std::string& name, AnchorRequest::What what) {
  Member* member = find(name);
  if (member == nullptr) return fail(Errc::not_found, "find '" + name + "': no such service");
  if (!member->link) return {};
  AnchorRequest request;
  request.what = what;
  return member->link->send(request);
}

Result<void> Fleet::stop(const std::string& name) {
  Member* member = find(name);
  if (member != nullptr) member->told_to_stop = true;
  if (member != nullptr && unowned(*member)) take_over(*member);
  if (member != nullptr && std::exchange(member->waits, false) && !member->seen)
    member->state.phase = Phase::stopped;
  if (member != nullptr && !member->alive) control::remove_empty_group(home_, member->folder);
  return request(name, AnchorRequest::What::stop);
}

Result<void> Fleet::may_restart(const std::string& name) const {
  const auto at = members_.find(name);
  if (at == members_.end() || !at->second.alive || at->second.witness.held().count == 0) return {};
  const std::string why = restarts_blocked(gpu_);
  return why.empty() ? Result<void>{} : fail(Errc::refused, "restart '" + name + "': " + why);
}

Result<void> Fleet::restart(const std::string& name) {
  Member* member = find(name);
  if (member == nullptr) return fail(Errc::not_found, "restart '" + name + "': no such service");
  GPUWARD_TRY(may_restart(name));
  if (!member->link) return start(name);
  member->told_to_stop = false;
  return request(name, AnchorRequest::What::restart);
}

StatusReport Fleet::report(const std::vector<std::string>& names, bool brief) const {
  StatusReport report;
  report.gpu = gpu_;
  const Instant now = os::now();
  for (const auto& [name, member] : members_) {
    if (!names.empty() && std::ranges::find(names, name) == names.end()) continue;
    std::vector<control::AnchorView> views;
    if (member.seen)
      views.push_back({member.folder, member.plan, member.state, member.alive, member.silent(now)});
    auto service = control::report_on(name, views, gpu_, now, brief);
    if (!member.held_back.empty() && !member.alive) {
      service.verdict = Verdict::starting;
      service.sentence = member.held_back;
    } else if (!member.trouble.empty() && !member.alive) {
      service.verdict = Verdict::failed;
      service.sentence = member.trouble;
    }
    if (member.waits) {
      service.verdict = Verdict::starting;
      service.sentence = "waits for its turn to be started";
    }
    report.services.push_back(std::move(service));
  }
  return report;
}

void Fleet::set_gpu(GpuSnapshot snapshot) {
  gpu_ = std::move(snapshot);
  for (auto& [name, member] : members_) {
    if (gpu_.sight == GpuSight::visible) witness(member);
    answer_memory(member);
  }
}

}  // namespace gpuward::warden
