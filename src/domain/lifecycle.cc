#include "domain/lifecycle.h"

#include <algorithm>
#include <csignal>

namespace gpuward {
namespace {

using namespace life;

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

std::string_view signal_name(int number) {
  switch (number) {
    case SIGHUP:
      return "hang-up";
    case SIGINT:
      return "interrupt";
    case SIGQUIT:
      return "quit";
    case SIGILL:
      return "illegal instruction";
    case SIGABRT:
      return "abort";
    case SIGBUS:
      return "bus error";
    case SIGFPE:
      return "arithmetic error";
    case SIGKILL:
      return "killed";
    case SIGSEGV:
      return "segmentation fault";
    case SIGPIPE:
      return "broken pipe";
    case SIGTERM:
      return "terminated";
    case SIGXCPU:
      return "CPU time limit";
    default:
      return "signal";
  }
}

// A wait may come from a message: one that is too long for the clock is a year.
Instant after(Instant now, std::chrono::milliseconds wait) {
  return now +
         std::clamp<std::chrono::milliseconds>(wait, -std::chrono::years(1), std::chrono::years(1));
}

// What the end of the tree, if it is ending, was begun for.
std::optional<Then> what_follows(const Life& life) {
  if (const auto* ending = std::get_if<Ending>(&life.state)) return ending->then;
  if (const auto* settling = std::get_if<Settling>(&life.state)) return settling->then;
  return std::nullopt;
}

// Everything step() needs, so that each rule below is a few lines.
struct Stepper {
  Life& life;
  const LifePolicy& policy;
  Instant now;
  LifeActions actions{};

  void act(Action action) { actions.push_back(action); }

  void start() {
    life.reason.clear();
    life.last_exit.reset();
    ++life.generation;
    life.state = Starting{after(now, policy.ready_within)};
    act(Action::spawn);
    act(Action::probe);
  }

  // By hand the command may be a new one, so what was ready before says nothing: as a first start.
  void start_by_hand() {
    life.failures = 0;
    life.ever_ready = false;
    start();
  }

  void end_tree(Then then, std::chrono::milliseconds grace) {
    act(Action::stop_probing);
    act(Action::note_tree);
    const bool at_once = grace <= std::chrono::milliseconds::zero();
    act(at_once ? Action::kill_tree : Action::term_tree);
    life.state = Ending{then, at_once ? Stage::kill : Stage::term, now,
                        at_once ? now + kUnkillableAfter : after(now, grace), at_once};
  }

  void finish(bool failed) {
    life.state = Over{failed};
    act(Action::finish);
  }

  void settle_then(Then then) {
    if (then == Then::stop) return finish(false);
    if (then == Then::restart) return start_by_hand();
    const bool success = life.last_exit && life.last_exit->success() && life.reason.empty();
    const bool repeat =
        policy.restart == RestartPolicy::always ||
        (policy.restart == RestartPolicy::on_failure && !success && life.ever_ready);
    if (!repeat) return finish(!success);
    life.failures = success ? 0 : life.failures + 1;
    if (life.failures >= kCrashLoop) {
      const Reason last = life.reason;
      life.reason = "failed ";
      life.reason.append_number(kCrashLoop).append(" times in a row, the last time: ").append(last);
      return finish(true);
    }
    const auto pause = backoff_delay(policy.backoff, std::max(life.failures, 1U),
                                     policy.jitter == 0 ? 0 : policy.jitter + life.generation);
    life.state = BackingOff{after(now, pause)};
  }

  void main_ended(const ExitStatus& status, bool was_ready) {
    life.last_exit = status;
    life.reason = status.success() ? Reason{} : describe(status);
    if (!was_ready && life.reason.empty() && policy.restart != RestartPolicy::never)
      life.reason = "exited with code 0 before it was ready";
    end_tree(Then::by_policy, policy.grace);
  }

  void stop(std::chrono::milliseconds grace) {
    std::visit(Overloaded{
                   [&](const Idle&) { finish(false); },
                   [&](const Starting&) { end_tree(Then::stop, grace); },
                   [&](const Ready&) { end_tree(Then::stop, grace); },
                   [&](Ending& ending) {
                     ending.then = Then::stop;
                     shorten(ending, grace);
                   },
                   [&](Settling& settling) { settling.then = Then::stop; },
                   [&](const BackingOff&) { finish(false); },
                   [&](const Over&) {},
               },
               life.state);
  }

  // What is ending is ended.
  void give_up() {
    if (!std::holds_alternative<Starting>(life.state) && !std::holds_alternative<Ready>(life.state))
      return;
    life.reason = "handed over on request: its processes live on, and gpuward leads them no more";
    act(Action::stop_probing);
    finish(false);
  }

  void shorten(Ending& ending, std::chrono::milliseconds grace) {
    if (ending.stage == Stage::term) ending.next = std::min(ending.next, after(now, grace));
    if (ending.stage == Stage::term && ending.next <= now) tick();
  }

  void restart(std::chrono::milliseconds grace) {
    std::visit(Overloaded{
                   [&](const Idle&) { start(); },
                   [&](const Starting&) { end_tree(Then::restart, grace); },
                   [&](const Ready&) { end_tree(Then::restart, grace); },
                   [&](Ending& ending) {
                     if (ending.then == Then::by_policy) ending.then = Then::restart;
                     shorten(ending, grace);
                   },
                   [&](Settling& settling) {
                     if (settling.then == Then::by_policy) settling.then = Then::restart;
                   },
                   [&](const BackingOff&) { start_by_hand(); },
                   [&](const Over&) {},
               },
               life.state);
  }

  void tree_empty() {
    const auto* ending = std::get_if<Ending>(&life.state);
    if (ending == nullptr) return;
    const Ending was = *ending;
    life.state = Settling{was.then, now + kMemoryWithin, was.began, was.forced};
    act(Action::prove_memory);
  }

  void memory_seen() {
    const auto* settling = std::get_if<Settling>(&life.state);
    if (settling == nullptr) return;
    const Settling was = *settling;
    act(Action::write_receipt);
    settle_then(was.then);
  }

  void tick() {
    if (now < deadline(life)) return;
    std::visit(Overloaded{
                   [&](const Starting&) {
                     life.reason = Reason("not ready within ");
                     life.reason.append_number(policy.ready_within.count()).append(" ms");
                     life.last_exit.reset();
                     end_tree(Then::by_policy, policy.grace);
                   },
                   [&](Ending& ending) {
                     if (ending.stage == Stage::term) {
                       ending.stage = Stage::kill;
                       ending.forced = true;
                       ending.next = now + kUnkillableAfter;
                       act(Action::kill_tree);
                       return;
                     }
                     // Keep trying: a process in uninterruptible sleep dies when its call returns.
                     const bool first = ending.stage == Stage::kill;
                     ending.stage = Stage::unkillable;
                     ending.next = now + kUnkillableAfter;
                     if (first) act(Action::write_receipt);
                     act(Action::kill_tree);
                   },
                   [&](const BackingOff&) { start(); },
                   [&](const Settling&) { memory_seen(); },  // nobody answered: not_visible stands
                   [](const auto&) {},
               },
               life.state);
  }

  void apply(const Event& event) {
    std::visit(Overloaded{
                   [&](const Begin&) {
                     if (std::holds_alternative<Idle>(life.state)) start();
                   },
                   [&](const SpawnFailed& failed) {
                     if (!std::holds_alternative<Starting>(life.state)) return;
                     life.reason = failed.reason;
                     life.last_exit.reset();
                     end_tree(Then::by_policy, std::chrono::milliseconds::zero());
                   },
                   [&](const ProbePassed&) {
                     if (!std::holds_alternative<Starting>(life.state)) return;
                     life.state = Ready{now};
                     life.ever_ready = true;
                     act(Action::stop_probing);
                     act(Action::watch);
                   },
                   [&](const LivenessLost& lost) {
                     const auto* ready = std::get_if<Ready>(&life.state);
                     if (ready == nullptr) return;
                     if (now - ready->since >= policy.backoff.reset) life.failures = 0;
                     life.reason = lost.reason;
                     life.last_exit.reset();
                     end_tree(Then::by_policy, policy.grace);
                   },
                   [&](const MainEnded& ended) {
                     if (const auto* ready = std::get_if<Ready>(&life.state)) {
                       if (now - ready->since >= policy.backoff.reset) life.failures = 0;
                       main_ended(ended.status, true);
                     } else if (std::holds_alternative<Starting>(life.state)) {
                       main_ended(ended.status, false);
                     } else {
                       life.last_exit = ended.status;
                     }
                   },
                   [&](const TreeEmpty&) { tree_empty(); },
                   [&](const MemorySeen&) { memory_seen(); },
                   [&](const StopAsked& ask) { stop(ask.grace); },
                   [&](const RestartAsked& ask) { restart(ask.grace); },
                   [&](const GivenUp&) { give_up(); },
                   [&](const Tick&) { tick(); },
               },
               event);
  }
};

}  // namespace

LifeActions step(Life& life, const life::Event& event, const LifePolicy& policy, Instant now) {
  Stepper stepper{life, policy, now};
  stepper.apply(event);
  return stepper.actions;
}

Instant deadline(const Life& life) {
  return std::visit(Overloaded{
                        [](const Starting& s) { return s.ready_by; },
                        [](const Ending& e) { return e.next; },
                        [](const Settling& s) { return s.give_up; },
                        [](const BackingOff& b) { return b.until; },
                        [](const auto&) { return Instant::max(); },
                    },
                    life.state);
}

bool stops_for_good(const Life& life) {
  return what_follows(life) == Then::stop;
}

bool restarts_by_order(const Life& life) {
  return what_follows(life) == Then::restart;
}

std::chrono::milliseconds backoff_delay(const Backoff& backoff, std::uint32_t failures,
                                        std::uint32_t jitter) {
  auto delay = backoff.first;
  for (std::uint32_t n = 1; n < failures && delay < backoff.max; ++n) delay *= 2;
  delay = std::min(delay, backoff.max);
  if (jitter == 0) return delay;
  // Neighbouring numbers must not give neighbouring pauses (the finisher of MurmurHash3).
  std::uint32_t mixed = jitter;
  mixed = (mixed ^ (mixed >> 16)) * 0x85ebca6bU;
  mixed = (mixed ^ (mixed >> 13)) * 0xc2b2ae35U;
  mixed ^= mixed >> 16;
  return delay - delay * static_cast<std::int64_t>(mixed % 1000) / 5000;
}

Reason describe(const ExitStatus& status) {
  if (status.unknown) return "ended; how is not known, because its first anchor had died";
  Reason text(status.signaled ? "ended by signal " : "exited with code ");
  text.append_number(status.value);
  if (status.signaled) text.append(" (").append(signal_name(status.value)).append(")");
  if (status.core) text.append(", core dumped");
  return text;
}

}  // namespace gpuward
