#include "cli/run.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <set>

#include "cli/events.h"
#include "cli/follow.h"
#include "cli/memory_by_looks.h"
#include "cli/receipt.h"
#include "cli/warden_client.h"
#include "control/anchors.h"
#include "control/launch_plan.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/spawn.h"

namespace gpuward::cli {
namespace {

constexpr auto kFirstWordWithin = std::chrono::seconds(30);
constexpr std::size_t kMostNames = 100;  // tried where none was given

int fail_run(const Error& error) {
  complain(error);
  return kRunFailed;
}

// "python3.11" from "/usr/bin/python3.11 app.py": something that may be a name.
std::string name_after(const std::string& command) {
  std::string name = command.substr(command.rfind('/') + 1);
  for (char& c : name)
    if (!is_service_name(std::string(1, c)) && c != '-') c = '_';
  while (!name.empty() && name.front() == '-') name.erase(0, 1);
  name.resize(std::min<std::size_t>(name.size(), 60));
  return name.empty() ? "run" : name;
}

// @p taken: names that others were quicker to take.
Result<std::string> choose_name(const RunOptions& options, const control::Home& home,
                                const std::set<std::string>& taken) {
  if (!options.name.empty()) {
    if (!is_service_name(options.name))
      return fail(Errc::invalid,
                  "use '" + options.name + "' as a name: letters, digits, '_' and '-', at most 64");
    if (control::anchor_lives(control::anchor_folder(home, options.name, 0)))
      return fail(Errc::refused, "start: '" + options.name +
                                     "' runs already; see: gpuward status " + options.name);
    return options.name;
  }
  const std::string base = name_after(options.command.front());
  std::string name = base;
  const auto in_use = [&] {
    return taken.contains(name) || control::anchor_lives(control::anchor_folder(home, name, 0));
  };
  for (int n = 2; in_use(); ++n) name = base + "-" + std::to_string(n);
  return name;
}

// @p log_shown: the person has read the anchor's own line on a failed start already.
int exit_code_of(const AnchorState& state, const LaunchPlan& plan, bool log_shown) {
  if (state.spawn_errno != 0) {
    if (!log_shown) std::fprintf(stderr, "gpuward: %s\n", std::string(state.reason.view()).c_str());
    if (!state.spawn_failure.view().starts_with(os::to_string(os::SpawnStep::execute)))
      return kRunFailed;
    return state.spawn_errno == ENOENT ? 127 : 126;
  }
  if (state.phase == Phase::unkillable || !state.receipt.survivors.empty()) {
    print_survivors(plan.service, state.receipt);
    return kRunFailed;
  }
  if (const auto why = why_not_proven(state, plan); !why.empty()) {
    std::fprintf(stderr, "gpuward: not proven: %s\n", std::string(why).c_str());
    return kRunFailed;
  }
  if (state.has_exit) return state.last_exit.shell_code();
  std::fprintf(stderr, "gpuward: %s\n", std::string(state.reason.view()).c_str());
  return kRunFailed;
}

int detach(control::Launched& launched, const LaunchPlan& plan, AnchorState state) {
  while (state.phase != Phase::ready && !is_over(state.phase)) {
    auto next = control::next_state(launched.channel, os::now() + std::chrono::seconds(30));
    if (!next) return fail_run(next.error());
    state = *next;
  }
  if (control::is_refusal(state)) return fail_run(Error(Errc::refused, state.reason));
  if (is_over(state.phase)) return exit_code_of(state, plan, false);
  std::printf("%s: runs as pid %d, held by %s\n", plan.service.c_str(), state.main.pid.number,
              std::string(to_string(state.level)).c_str());
  std::printf("  log   %s\n  next  gpuward status %s\n", plan.log_file.c_str(),
              plan.service.c_str());
  return 0;
}

// In front of the anchor: follows the log, passes Ctrl-C on as a stop, waits for the proof.
class Foreground {
 public:
  Foreground(const control::Home& home, control::Launched launched, const LaunchPlan& plan,
             LogFollower log, const AnchorState& first)
      : home_(home),
        launched_(std::move(launched)),
        plan_(plan),
        log_(std::move(log)),
        state_(first) {}

  int watch() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&set, number);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    const os::Fd signals = os::Fd::take(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (control::is_refusal(state_)) return fail_run(Error(Errc::refused, state_.reason));
    while (!ended()) {
      pollfd items[] = {
          {launched_.channel.fd(), POLLIN, 0}, {signals.get(), POLLIN, 0}, {log_.fd(), POLLIN, 0}};
      if (::poll(items, 3, -1) < 0 && errno != EINTR) return fail_run(last_error("wait"));
      if (items[2].revents != 0) log_.print_new();
      if (items[1].revents != 0) ask_to_stop(signals);
      if (items[0].revents == 0) continue;
      if (auto heard = listen(); !heard) return lost(heard.error());
    }
    return done();
  }

 private:
  bool ended() const { return state_.phase == Phase::unkillable || is_over(state_.phase); }

  // Everything that has come: what is left in the channel's buffer would not wake poll again.
  Result<void> listen() {
    while (!ended()) {
      auto next = control::next_state(launched_.channel, os::now());
      if (!next && next.error().code == make_error_code(Errc::timed_out)) return {};
      if (!next) return fail(std::move(next).error());
      state_ = *next;
      if (memory_) memory_->answer_if_asked(launched_.channel, state_);
    }
    return {};
  }

  void ask_to_stop(const os::Fd& signals) {
    signalfd_siginfo info{};
    while (::read(signals.get(), &info, sizeof info) == sizeof info) {
      AnchorRequest request;
      if (!memory_) {
        memory_.emplace(launched_.folder, state_);
        request.sees_gpu = memory_->sees();
        (void)launched_.channel.send(request, os::now() + std::chrono::seconds(1));
      }
      request.what = AnchorRequest::What::stop;
      request.has_grace = asked_;  // twice: no grace
      asked_ = true;
      (void)launched_.channel.send(request, os::now() + std::chrono::seconds(1));
      if (!request.has_grace && ::isatty(STDERR_FILENO) == 1)
        std::fprintf(stderr, "gpuward: stopping %s; Ctrl-C again ends it at once\n",
                     plan_.service.c_str());
    }
  }

  int done() {
    log_.print_new();
    const Receipt& receipt = state_.receipt;
    const bool left_some = receipt.processes_ended > 1 || !receipt.survivors.empty();
    if (receipt.generation != 0 && (asked_ || left_some))
      print_receipt(stderr, plan_.service, receipt, memory_.has_value());
    const int code = exit_code_of(state_, plan_, true);
    if (state_.phase != Phase::unkillable) {
      launched_.channel = control::Channel(os::Fd());
      (void)wait_gone();
      record();
      (void)control::remove_folder(launched_.folder);
    }
    return code;
  }

  // Its journal goes with its folder.
  void record() const {
    auto recorded = import_journals(home_, {launched_.folder});
    if (!recorded)
      std::fprintf(stderr, "gpuward: what happened could not be recorded: %s\n",
                   recorded.error().message().c_str());
  }

  int lost(const Error& error) {
    log_.print_new();
    std::fprintf(
        stderr,
        "gpuward: the anchor of '%s' died (%s); its processes may live on: gpuward status\n",
        plan_.service.c_str(), error.message().c_str());
    return kRunFailed;
  }

  // The anchor exits right after its last word; its folder can go once it has.
  bool wait_gone() const {
    if (launched_.anchor.poll_fd() < 0) return false;
    pollfd item{launched_.anchor.poll_fd(), POLLIN, 0};
    return ::poll(&item, 1, 2000) == 1;
  }

  const control::Home& home_;
  control::Launched launched_;
  const LaunchPlan& plan_;
  LogFollower log_;
  AnchorState state_;
  std::optional<MemoryByLooks> memory_;  // once a stop was asked for
  bool asked_ = false;
};

struct Begun {
  LaunchPlan plan;
  LogFollower log;
  control::Launched launched;
  AnchorState first;  // what its anchor said first
};

Result<Begun> begin(const RunOptions& options, const control::Home& home,
                    const std::set<std::string>& taken) {
  auto name = choose_name(options, home, taken);
  if (!name) return fail(std::move(name).error());
  ServiceModel service;
  service.name = *name;
  service.command = options.command;
  service.restart = RestartPolicy::never;
  service.pid_file = options.pid_file;
  service.containment = options.containment;
  if (options.grace) service.grace = *options.grace;
  control::LaunchContext context;
  context.environment = control::own_environment();
  auto plan = control::make_plan(service, 0, home, context);
  if (!plan) return fail(std::move(plan).error());
  auto log = LogFollower::at_end(plan->log_file);
  if (!log) return fail(std::move(log).error());
  auto launched = control::launch_anchor(*plan, home);
  if (!launched) return fail(std::move(launched).error());
  auto first = control::next_state(launched->channel, os::now() + kFirstWordWithin);
  if (!first) return fail(std::move(first).error());
  return Begun{std::move(*plan), std::move(*log), std::move(*launched), *first};
}

}  // namespace

int run(const RunOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  auto home = control::find_home();
  if (!home) return fail_run(home.error());
  if (auto ready = control::prepare_home(*home); !ready) return fail_run(ready.error());
  std::set<std::string> taken;
  for (;;) {
    auto begun = begin(options, *home, taken);
    if (!begun) return fail_run(begun.error());
    // Two that were started at once may have chosen one name; whoever got it may have ended since.
    const bool lost = control::is_refusal(begun->first) && begun->first.name_taken;
    if (lost && options.name.empty() && taken.size() < kMostNames) {
      taken.insert(begun->plan.service);
      continue;
    }
    if (options.detach) return detach(begun->launched, begun->plan, begun->first);
    return Foreground(*home, std::move(begun->launched), begun->plan, std::move(begun->log),
                      begun->first)
        .watch();
  }
}

}  // namespace gpuward::cli
