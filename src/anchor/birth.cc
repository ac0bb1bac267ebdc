// How main is started: on record before its first instruction.

#include <cerrno>
#include <cstring>

#include "anchor/anchor.h"
#include "anchor/record.h"
#include "os/clock.h"

namespace gpuward::anchor {
namespace {

// Without a check a service is ready when it has run this long: most mistakes end it sooner.
constexpr auto kRunsFor = std::chrono::milliseconds(200);

// A refusal of our own has none: what is held does not fit what was asked for.
int errno_of(const Error& error) {
  return error.code.category() == std::system_category() ? error.code.value() : EBUSY;
}

}  // namespace

void Anchor::spawn() {
  state_.generation = life_.generation;
  state_.has_exit = false;
  state_.spawn_errno = 0;
  state_.spawn_failure.clear();
  state_.ready_evidence.clear();
  state_.wants_memory_proof = false;
  state_.alarm = LogAlarm::none;
  state_.alarm_ns = 0;
  unanswered_.clear();
  log_.begin_anew();
  childless_ = false;
  adopted_ = false;
  if (auto renewed = tree_.renew(); !renewed)
    return spawn_failed({os::SpawnStep::enter_cgroup, renewed.error().code.value()});
  if (auto renewed = limits_of_tree_.renew(plan_.limits, &state_.limits); !renewed)
    return spawn_failed({os::SpawnStep::join_limits, errno_of(renewed.error())});
  clear_temp_folder();
  if (state_.level == Containment::pidns) {
    auto space = os::PidNamespace::make(plan_.on_anchor_death == OnAnchorDeath::kill);
    if (!space) return spawn_failed({os::SpawnStep::make_namespace, space.error().code.value()});
    state_.init = space->first().id();
    tree_.hold(std::move(*space));
  }
  if (auto opened = sockets_.make_ready(); !opened) {
    log_.note(opened.error().message());
    return spawn_failed({os::SpawnStep::open_sockets, errno_of(opened.error())});
  }
  os::SpawnPlan plan;
  plan.handed = sockets_.numbers();
  plan.listen_pid = sockets_.empty() ? nullptr : env_text_.back().data() + kListenPid.size();
  plan.argv = argv_.data();
  plan.envp = envp_.data();
  plan.directory = plan_.directory.empty() ? nullptr : plan_.directory.c_str();
  plan.out = log_.service_out();
  plan.err = log_.service_err();
  plan.cgroup = &tree_.cgroup();
  plan.rights = &rights_;
  plan.temp_folder = plan_.temp_folder.empty() ? nullptr : plan_.temp_folder.c_str();
  plan.pid_namespace = &tree_.space();
  container_.begin(os::now());
  auto spawning = os::Spawning::begin(plan);
  if (!spawning) return spawn_failed(spawning.error());
  if (auto joined = limits_of_tree_.enter(spawning->process().pid()); !joined)
    return spawn_failed({os::SpawnStep::join_limits, errno_of(joined.error())});
  state_.main = spawning->process().id();
  last_main_ = state_.main_session = state_.main.pid;
  tree_.begun(last_main_);
  if (age_at_ == os::kNever) settle_temp_age(os::now());
  // Before exec: a crash from here on leaves a tree that can be found. Without a record there is
  // none: the child, which waits for it, ends.
  if (auto written = write_record(); !written) {
    state_.main = ProcessId{};
    return spawn_failed({os::SpawnStep::write_record, written.error().code.value()});
  }
  tree_.settle_space();
  if (auto written = write_pid_file(plan_.pid_file, last_main_); !written)
    note_failure("the PID file could not be written", written.error());
  main_ = spawning->take_process();
  exec_report_ = spawning->go();
}

void Anchor::spawn_failed(const os::SpawnFailure& failure) {
  tree_.space().kill();
  state_.spawn_errno = failure.errno_value == 0 ? EIO : failure.errno_value;
  state_.spawn_failure = Text<200>(os::to_string(failure.step));
  if (failure.step == os::SpawnStep::execute)
    state_.spawn_failure.append(" '").append(plan_.command.front()).append("'");
  if (failure.step == os::SpawnStep::change_directory)
    state_.spawn_failure.append(" '").append(plan_.directory).append("'");
  Reason reason("could not ");
  reason.append(state_.spawn_failure).append(": ").append(::strerrordesc_np(state_.spawn_errno));
  log_.note(reason);
  happen(life::SpawnFailed{reason});
}

void Anchor::check_exec_report() {
  if (!exec_report_) return;
  os::SpawnFailure failure;
  switch (os::read_exec_report(exec_report_, &failure)) {
    case os::ExecState::pending:
      return;
    case os::ExecState::done:
      exec_report_.close();
      if (plan_.ready.kind == ReadyKind::started) runs_by_ = os::now() + kRunsFor;
      return check_log();  // it may have printed its text already
    case os::ExecState::failed:
      exec_report_.close();
      return spawn_failed(failure);
  }
}

}  // namespace gpuward::anchor
