// Services are started, stopped and restarted, a thousand at once if it must be.

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <thread>
#include <utility>

#include "control/launch_plan.h"
#include "os/clock.h"
#include "warden/fleet.h"

namespace gpuward::warden {

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

}  // namespace gpuward::warden
