// What an anchor is told, and what it tells: its clients, its record, the log.

#include <cstring>
#include <utility>

#include "anchor/anchor.h"
#include "anchor/record.h"
#include "os/clock.h"

namespace gpuward::anchor {

void Anchor::answer(const AnchorRequest& request, std::size_t client) {
  const auto grace = request.has_grace ? request.grace : plan_.grace;
  switch (request.what) {
    case AnchorRequest::What::subscribe:
      return publish();
    case AnchorRequest::What::stop:
      note_order(EventKind::stop_asked, clients_.socket(client));
      return happen(life::StopAsked{grace});
    case AnchorRequest::What::restart:
      ++state_.restart_orders;
      note_order(EventKind::restart_asked, clients_.socket(client));
      return happen(life::RestartAsked{grace});
    case AnchorRequest::What::memory_answer:
      if (!state_.wants_memory_proof || request.generation != life_.generation) return;
      state_.receipt.gpu_bytes_returned = request.bytes;
      return happen(life::MemorySeen{request.proof});
    case AnchorRequest::What::settings:
      if (request.settings) take_settings(*request.settings);
      return;
    case AnchorRequest::What::release:
      note_order(EventKind::release_asked, clients_.socket(client));
      return give_up();
    case AnchorRequest::What::gpu_held:
      state_.gpu_seen = true;
      state_.gpu_held = request.bytes;
      return update_record();
  }
}

// In the plan too, so that whoever takes this tree over has them. What a running wait was begun
// with stays until it has ended.
void Anchor::take_settings(const LiveSettings& settings) {
  plan_.ready.within = settings.ready_within;
  plan_.grace = settings.grace;
  plan_.restart = settings.restart;
  plan_.backoff = settings.backoff;
  plan_.log = settings.log;
  plan_.live.every = settings.live_every;
  plan_.live.failures = settings.live_failures;
  // A limit that is new, or gone, waits for a new process: groups are joined at birth.
  if (plan_.limits.cpu_weight != 0 && settings.limits.cpu_weight != 0)
    plan_.limits.cpu_weight = settings.limits.cpu_weight;
  if (plan_.limits.memory_max.count != 0 && settings.limits.memory_max.count != 0)
    plan_.limits.memory_max = settings.limits.memory_max;
  limits_of_tree_.change(plan_.limits, &state_.limits);
  policy_ = {plan_.ready.within, plan_.grace, plan_.restart, plan_.backoff, policy_.jitter};
  log_.set_policy(plan_.log);
  if (std::exchange(plan_.temp_max_age, settings.temp_max_age) != settings.temp_max_age)
    settle_temp_age(os::now());
  watch_.set_pace(plan_.live.every, plan_.live.failures, os::now());
  note_event(EventKind::settings);
  publish();
}

// Brings state_ up to what is true now.
void Anchor::describe() {
  state_.failures = life_.failures;
  state_.reason = life_.reason;
  if (main_ || !life_.reason.empty()) limits_of_tree_.count_kills(&state_.limits);
  if (!life_.reason.empty() && state_.limits.kills != 0)
    state_.reason.append("; ").append(describe_kills(state_.limits, plan_.limits));
  if (!life_.reason.empty() && state_.alarm != LogAlarm::none)
    state_.reason.append("; its log tells of ").append(to_string(state_.alarm));
  if (!life_.reason.empty() && !unanswered_.empty())
    state_.reason.append("; it last ").append(unanswered_);
  if (!state_.reason.empty()) state_.last_failure = state_.reason;
  state_.has_exit = life_.last_exit.has_value();
  if (life_.last_exit) state_.last_exit = *life_.last_exit;
  if (!main_) state_.main = ProcessId{};
  if (!tree_.space().alive()) state_.init = ProcessId{};
  state_.next_ns =
      state_.phase == Phase::backing_off ? deadline(life_).time_since_epoch().count() : 0;
  state_.lost_log_bytes = lost_before_ + log_.lost_bytes();
  if (state_.has_released && !given_up_) tree_.handed_over().note(&state_);
  state_.stop_asked = stops_for_good(life_);
  state_.restart_asked = restarts_by_order(life_);
}

void Anchor::publish() {
  describe();
  update_record();
  clients_.tell(state_);
}

Result<void> Anchor::write_record() {
  return anchor::write_record(dir_, boot_id_, plan_, state_, ever_restored_, tree_.seen());
}

void Anchor::update_record() {
  auto written = write_record();
  if (!written) note_failure("the record could not be written", written.error());
}

void Anchor::note_failure(std::string_view what, const Error& error) {
  Text<300> line(what);
  line.append(": ").append(error.doing);
  if (error.code.category() == std::system_category())
    line.append(": ").append(::strerrordesc_np(error.code.value()));
  log_.note(line);
}

}  // namespace gpuward::anchor
