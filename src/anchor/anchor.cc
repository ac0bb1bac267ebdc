#include "anchor/anchor.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "anchor/record.h"
#include "anchor/scratch.h"
#include "os/proc_fs.h"
#include "os/socket.h"

namespace gpuward::anchor {
namespace {

constexpr auto kFirstRecheck = std::chrono::milliseconds(5);
constexpr auto kLongestRecheck = std::chrono::milliseconds(200);
constexpr auto kNamedWithin = std::chrono::milliseconds(500);
constexpr int kWordsAtOnce = 32;  // notifications
constexpr int kLastWords = 8;     // pieces of 16 KiB of output that are read when main has ended
constexpr auto kListenAgain = std::chrono::milliseconds(200);
constexpr auto kLookAtEscapes = std::chrono::milliseconds(250);
constexpr auto kNameAgain = std::chrono::seconds(1);  // what KILL does not end
constexpr auto kLongSleep = std::chrono::minutes(1);  // what it works in is given back meanwhile
constexpr std::chrono::nanoseconds kAlarmAgain = std::chrono::seconds(1);
constexpr auto kFirstLook = std::chrono::milliseconds(100);
constexpr auto kLongestLook = std::chrono::seconds(5);  // limits_of() names it

}  // namespace

void Anchor::check_adopted_main() {
  if (!adopted_ || !main_ || main_.alive()) return;
  forget_main();
  happen(life::MainEnded{.status = {.unknown = true}});
  check_empty();
}

int Anchor::run() {
  // These point into plan_, which stays where it is from now on.
  if (plan_.ready.kind == ReadyKind::tcp || plan_.ready.kind == ReadyKind::http)
    probe_ = Probe(plan_.ready);
  watch_.set(plan_.live);
  container_ = Container(plan_.container, state_.container, cgroup2_mount_);
  if (plan_.ready.kind == ReadyKind::log) log_.look_for(plan_.ready.text);
  note_beginning();
  sweep_aside();
  if (adopted_) settle_temp_age(os::now());
  if (adopted_) container_.resume(os::now());
  if (adopted_)
    resume();
  else
    happen(life::Begin{});
  while (!over_) {
    look_around(os::now());
    wait();
    check_deadline();
  }
  return 0;
}

Instant Anchor::next_wake() const {
  if (sweep_ && sweep_->active()) return os::now();
  const Instant probe = exec_report_ ? os::kNever : probe_.next();  // asked once it is executed
  const Instant listen = os::now() < listen_again_ ? listen_again_ : os::kNever;
  return std::min({deadline(life_), probe, watch_.next(), recheck_, memory_by_, look_, listen,
                   runs_by_, container_.next(), age_at_});
}

void Anchor::wait() {
  enum Slot : std::size_t {
    kSignals,
    kListener,
    kOut,
    kErr,
    kExec,
    kProbe,
    kWatch,
    kNotify,
    kTree,
    kMain,
    kContainer,
    kEngine,
    kFirstClient
  };
  std::array<pollfd, kFirstClient + Clients::kMost> items{};
  items[kSignals] = {signals_.get(), POLLIN, 0};
  const bool listening = os::now() >= listen_again_;
  items[kListener] = {listening ? listener_.get() : -1, POLLIN, 0};
  items[kOut] = {log_.out_fd(), POLLIN, 0};
  items[kErr] = {log_.err_fd(), POLLIN, 0};
  items[kExec] = {exec_report_.get(), POLLIN, 0};
  items[kProbe] = {probe_.fd(), probe_.events(), 0};
  items[kWatch] = {watch_.fd(), watch_.events(), 0};
  items[kNotify] = {notify_.fd(), POLLIN, 0};
  items[kTree] = {tree_.cgroup().events_fd(), POLLPRI, 0};
  items[kMain] = {adopted_ ? main_.poll_fd() : -1, POLLIN, 0};
  items[kContainer] = {container_.events_fd(), POLLPRI, 0};
  items[kEngine] = {container_.engine_fd(), container_.engine_events(), 0};
  for (std::size_t at = 0; at < Clients::kMost; ++at)
    items[kFirstClient + at] = {clients_.fd(at), POLLIN, 0};

  const Instant wake = next_wake();
  if (wake == os::kNever || wake - os::now() > kLongSleep) {
    give_back_scratch();
    give_back_stack();
  }
  if (::poll(items.data(), items.size(), os::poll_timeout(wake)) < 0) return;  // EINTR
  ++state_.wakeups;
  for (const auto slot : {kSignals, kOut, kErr}) stirred_ |= items[slot].revents != 0;
  if (items[kOut].revents != 0 || items[kErr].revents != 0) carry_output();
  // Exits are recorded before commands are obeyed, so that no command meets a main that has ended.
  if (items[kExec].revents != 0) check_exec_report();
  if (items[kSignals].revents != 0) reap();
  if (items[kMain].revents != 0) check_adopted_main();
  if (items[kProbe].revents != 0) check_probe();
  if (items[kNotify].revents != 0) hear();
  if (items[kWatch].revents != 0) check_life();
  if (items[kContainer].revents != 0 || items[kEngine].revents != 0) check_container();
  if (items[kTree].revents != 0) {
    (void)tree_.cgroup().populated();  // reading cgroup.events is what quiets poll (cgroups(7))
    tree_.forget_if_gone();
    check_adopted_main();
    check_empty();
  }
  for (std::size_t at = 0; at < Clients::kMost; ++at) {
    if (items[kFirstClient + at].revents == 0) continue;
    clients_.read(at,
                  [this, at](const AnchorRequest& request, std::size_t) { answer(request, at); });
  }
  if (items[kListener].revents != 0 && !clients_.accept_from(listener_))
    listen_again_ = os::now() + kListenAgain;
}

// A loss is told when it begins and each time it has doubled: the service may print for ever.
void Anchor::carry_output() {
  log_.pump();
  const bool worse = rank_of(log_.alarm()) > rank_of(state_.alarm);
  if (worse) {
    state_.alarm = log_.alarm();
    note_alarm();
  }
  // A worker that was replaced took its error along: the next one's is news. Not each line of it.
  const bool as_grave = rank_of(log_.alarm()) >= std::min(rank_of(state_.alarm), kFatalRank);
  const std::int64_t told_ns = log_.alarm_at().time_since_epoch().count();
  const bool again = as_grave && told_ns - state_.alarm_ns >= kAlarmAgain.count();
  if (worse || again) state_.alarm_ns = told_ns;
  check_log();
  const bool lost = lost_before_ + log_.lost_bytes() > 2 * state_.lost_log_bytes;
  if (lost) note_loss();
  if (worse || again || lost) publish();
}

void Anchor::check_log() {
  if (plan_.ready.kind == ReadyKind::log && log_.saw_ready() && !exec_report_)
    become_ready("it printed the text of 'ready.log'");
}

void Anchor::reap() {
  signalfd_siginfo info{};
  bool asked_to_stop = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    // TERM, INT, QUIT: someone wants this anchor gone; it goes by ending its tree properly.
    if (info.ssi_signo == SIGCHLD || info.ssi_signo == SIGHUP) continue;
    asked_to_stop = true;
    note_order(EventKind::stop_asked, {Pid{static_cast<pid_t>(info.ssi_pid)}, info.ssi_uid});
  }
  check_exec_report();
  for (;;) {
    siginfo_t child{};
    if (::waitid(P_ALL, 0, &child, WEXITED | WNOHANG) < 0) {
      childless_ = errno == ECHILD;
      break;
    }
    if (child.si_pid == 0) {
      childless_ = false;
      break;
    }
    ++reaped_;
    if (!main_ || child.si_pid != main_.pid().number) continue;
    ExitStatus status;
    status.signaled = child.si_code != CLD_EXITED;
    status.value = child.si_status;
    status.core = child.si_code == CLD_DUMPED;
    for (int n = 0; n < kLastWords; ++n) carry_output();  // they may tell why
    forget_main();
    happen(life::MainEnded{status});
  }
  if (asked_to_stop) happen(life::StopAsked{plan_.grace});
  check_empty();
}

// Its number may be somebody else's soon: no file may name it any more.
void Anchor::forget_main() {
  main_ = os::Process();
  remove_pid_file(plan_.pid_file, last_main_);
}

void Anchor::check_probe() {
  const Instant now = os::now();
  if (exec_report_ || !probe_.advance(now)) return;
  // Somebody answered on the service's address. Was it the service?
  // What a container listens on is its own or its engine's, outside the tree.
  const bool within = plan_.container.hold == ContainerHold::none;
  if (within && tree_.listens_on(probe_.port()) == false) {
    Text<96> text("readiness: port ");
    log_.note(text.append_number(probe_.port()).append(" is answered by another program"));
    return probe_.retry(now);
  }
  become_ready(probe_.evidence());
}

void Anchor::become_ready(std::string_view evidence) {
  if (!std::holds_alternative<life::Starting>(life_.state)) return;
  state_.ready_evidence = Text<64>(evidence);
  happen(life::ProbePassed{});
}

void Anchor::check_life() {
  if (auto lost = watch_.advance(os::now())) happen(life::LivenessLost{*lost});
}

// Anybody may send to the socket: only the tree's own word counts, and a flood waits its turn. Who
// has said its word and is gone is believed by its user alone.
void Anchor::hear() {
  const uid_t user = rights_.change_user ? rights_.uid : ::geteuid();
  for (int words = 0; words < kWordsAtOnce; ++words) {
    const auto word = notify_.read();
    if (!word) return;
    if (word->uid != user && word->uid != 0) continue;
    if (!tree_.contains(word->sender) && os::read_stat(word->sender)) continue;
    if (word->ready && plan_.ready.kind == ReadyKind::notify) become_ready("it said READY=1");
    if (word->watchdog) watch_.heard(os::now());
    if (word->stopping) watch_.stop();
  }
}

void Anchor::check_empty() {
  if (!std::holds_alternative<life::Ending>(life_.state)) return;
  if (tree_.close_space()) recheck_ = std::min(recheck_, os::now() + kFirstRecheck);
  if (!tree_.empty(childless_)) return;
  const Instant soon = os::now() + std::max<Duration>(kFirstRecheck, recheck_pause_);
  // Of a tree that was taken over some may have been born to nobody while it was ending.
  if (tree_.find_marked() && !tree_.empty(childless_)) {
    recheck_ = std::min(recheck_, soon);
    return;
  }
  const bool ended_well = life_.last_exit && life_.last_exit->success();
  if (!container_.ended(killing_, ended_well, os::now())) {
    recheck_ = std::min(recheck_, soon);
    return;
  }
  if (std::exchange(killing_, false)) tree_.thaw();
  recheck_ = os::kNever;
  happen(life::TreeEmpty{});
}

void Anchor::check_container() {
  if (container_.advance(os::now())) publish();
  check_empty();
}

void Anchor::check_deadline() {
  const Instant now = os::now();
  if (now >= container_.next()) check_container();
  if (probe_.active() && now >= probe_.next()) check_probe();
  if (now >= watch_.next()) check_life();
  if (now >= runs_by_) {
    runs_by_ = os::kNever;
    become_ready("it runs; no readiness check is set");
  }
  if (now >= recheck_) {
    const bool ended_some = std::exchange(reaped_, 0) != 0;
    // The kernel ends 2,000 processes in its own time; to name those that it has not come to yet
    // costs more than their end. Once that stalls, or goes on for too long, they are named.
    const bool goes_on = killing_ && ended_some && now < named_by_ && tree_.holds_some();
    if (!goes_on) recheck_pause_ = std::min<Duration>(recheck_pause_ * 2, kLongestRecheck);
    recheck_ = now + recheck_pause_;
    reap();
    if (killing_ && recheck_ != os::kNever) {
      container_.kill_pass(now);
      if (!goes_on && !container_.comes_first(now)) tree_.kill_pass(false);
    }
    if (state_.phase == Phase::unkillable && now - named_ >= kNameAgain) {
      name_survivors();
      publish();
    }
  }
  sweep_temp_folder();
  await_memory(now);
  if (now >= deadline(life_)) {
    if (std::holds_alternative<life::Settling>(life_.state))
      state_.receipt.memory =
          clients_.someone_sees_gpu() ? MemoryProof::held : MemoryProof::not_visible;
    if (std::holds_alternative<life::Starting>(life_.state)) unanswered_ = probe_.failure();
    happen(life::Tick{});
  }
}

// A later anchor knows those that are in no cgroup of ours only from the record. Where there is no
// cgroup at all they are looked for by the clock, soon after anything has happened, then ever more
// seldom; else, as only root can leave it, when something wakes us. Without a pidfd nothing tells
// that an adopted main has ended: that is looked for too.
void Anchor::look_around(Instant now) {
  const bool stirred = std::exchange(stirred_, false);
  if (!main_ && !std::holds_alternative<life::Ending>(life_.state)) {
    look_ = os::kNever;
    return;
  }
  const bool by_the_clock =
      (!tree_.cgroup() && !tree_.space()) || (adopted_ && main_.poll_fd() < 0);
  const bool due = now >= look_;
  const Instant soon = looked_ + (by_the_clock ? Duration(kFirstLook) : Duration(kLookAtEscapes));
  if (!due && now < soon) {
    if (by_the_clock || stirred) look_ = std::min(look_, soon);
    return;
  }
  looked_ = now;
  const bool changed = tree_.look();
  look_pause_ = changed || !due ? kFirstLook : std::min<Duration>(look_pause_ * 2, kLongestLook);
  look_ = by_the_clock ? now + look_pause_ : os::kNever;
  state_.outside = static_cast<std::uint32_t>(tree_.seen().size());
  const auto kills = state_.limits.kills;
  limits_of_tree_.count_kills(&state_.limits);
  if (kills != state_.limits.kills)
    publish();
  else if (changed)
    update_record();
  check_adopted_main();
}

void Anchor::happen(const life::Event& event) {
  if (const auto* seen = std::get_if<life::MemorySeen>(&event)) state_.receipt.memory = seen->proof;
  const Phase before = state_.phase;
  const std::uint32_t generation = life_.generation;
  const auto actions = step(life_, event, policy_, os::now());
  state_.phase = phase_of(life_);
  if (state_.phase != before || life_.generation != generation)
    state_.since_ns = os::now().time_since_epoch().count();
  // What is meant is on record before it is done: whoever adopts this tree goes on from there.
  describe();
  if (std::find(actions.begin(), actions.end(), life::Action::finish) != actions.end())
    prepare_reader();
  if (!actions.empty()) update_record();
  const Phase now = state_.phase;
  for (const auto action : actions) {
    // A nested happen() may have moved on: what a finished life still asked for is void.
    if (over_) return;
    // After the receipt, and before the last word, upon which this folder may be removed.
    if (action == life::Action::finish) note_phase(before, now);
    note_intent(action);
    perform(action);
  }
  if (over_) return;
  note_phase(before, now);
  publish();
}

void Anchor::perform(life::Action action) {
  switch (action) {
    case life::Action::spawn:
      return spawn();
    case life::Action::probe:
      if (std::holds_alternative<life::Starting>(life_.state)) probe_.start(os::now());
      return;
    case life::Action::stop_probing:
      runs_by_ = os::kNever;
      watch_.stop();
      return probe_.stop();
    case life::Action::watch:
      return watch_.start(os::now());
    case life::Action::note_tree:
      return note_tree();
    case life::Action::term_tree:
      tree_.terminate(main_);
      recheck_pause_ = kFirstRecheck;
      // cgroup.events and SIGCHLD tell of the end; only without them it has to be looked for.
      recheck_ = tree_.silent() ? os::now() + recheck_pause_ : os::kNever;
      return reap();
    case life::Action::kill_tree:
      if (!std::exchange(killing_, true)) killed_ = os::now();
      looked_ = os::now();  // a look now would walk through all that are dying
      state_.receipt.forced = true;
      named_by_ = os::now() + kNamedWithin;
      reaped_ = 0;
      container_.kill(os::now());
      if (!container_.comes_first(os::now())) tree_.kill_pass(state_.phase != Phase::unkillable);
      recheck_pause_ = kFirstRecheck;
      recheck_ = os::now() + recheck_pause_;
      return reap();
    case life::Action::prove_memory:
      return prove_memory();
    case life::Action::write_receipt:
      return write_receipt();
    case life::Action::finish:
      return finish();
  }
}

}  // namespace gpuward::anchor
