#include "warden/fleet.h"

#include <algorithm>
#include <utility>

#include "config/keys.h"
#include "os/clock.h"

namespace gpuward::warden {

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
