#include "tool/play.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "os/fd.h"
#include "os/process.h"
#include "os/spawn.h"

namespace gpuward::gpusim::tool {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set, number);
  return set;
}

/// Sleeps until then (CLOCK_MONOTONIC, ns). @return the signal that ended it before, or 0.
int sleep_until(std::uint64_t at) {
  const sigset_t set = stop_signals();
  for (;;) {
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t left = at > now ? at - now : 0;
    const timespec wait = {static_cast<time_t>(left / kSecond), static_cast<long>(left % kSecond)};
    const int got = ::sigtimedwait(&set, nullptr, &wait);
    if (got > 0) return got;
    if (errno == EAGAIN) return 0;
  }
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    const bool plain = !word.empty() && word.find_first_of(" \t\"#") == std::string::npos;
    text += (text.empty() ? "" : " ") + (plain ? word : '"' + word + '"');
  }
  return text;
}

/// Waits until a new holder says that it holds.
Result<void> wait_until_holding(const os::Fd& output, const std::string& name) {
  std::string text;
  while (!text.ends_with('\n')) {
    pollfd item = {output.get(), POLLIN, 0};
    if (::poll(&item, 1, 5000) <= 0) return fail(Errc::timed_out, "wait for process " + name);
    char part[64];
    const ssize_t got = ::read(output.get(), part, sizeof part);
    if (got <= 0) return fail(Errc::refused, "start process " + name);
    text.append(part, static_cast<std::size_t>(got));
    if (text.size() > 200) break;
  }
  return {};
}

/// The processes of an incident. Those that do not outlive it end with this object.
class Cast {
 public:
  ~Cast() {
    while (!groups_.empty()) end(groups_.begin()->first);
  }
  Result<int> start(const Start& start) {
    int first = 0;
    for (unsigned i = 0; i < start.count; ++i) {
      auto process = start_one(start);
      if (!process) return fail(process.error());
      if (first == 0) first = process->pid().number;
      // Who stays is still our child: it is left to init when we end.
      if (start.stay_ns == 0) groups_[start.name].push_back(std::move(*process));
    }
    return first;
  }
  /// They are children that nobody else reaps, so the numbers are theirs.
  void end(const std::string& name) {
    const auto found = groups_.find(name);
    if (found == groups_.end()) return;
    for (const os::Process& process : found->second) (void)process.signal(SIGKILL);
    for (const os::Process& process : found->second) {
      while (::waitpid(process.pid().number, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    groups_.erase(found);
  }

 private:
  static Result<os::Process> start_one(const Start& start) {
    auto pipe = os::make_pipe();
    if (!pipe) return fail(pipe.error());
    auto path = os::sibling_program("gpusim");
    if (!path) return fail(path.error());
    const std::uint64_t time = start.stay_ns == 0 ? kMaxIncidentNs : start.stay_ns;
    os::ProgramPlan plan;
    plan.path = *path;
    plan.args = {"hold",
                 "--gpu",
                 std::to_string(start.hold.gpu),
                 "--memory",
                 std::to_string(start.hold.memory_bytes) + "B",
                 "--busy",
                 std::to_string(start.hold.busy_percent),
                 "--name",
                 start.name,
                 "--for",
                 std::to_string(time / 1000) + "us"};
    plan.out = pipe->write.get();
    plan.err = STDERR_FILENO;
    plan.new_session = start.stay_ns != 0;
    plan.parent_death_signal = start.stay_ns == 0 ? SIGKILL : 0;
    auto process = os::start_program(plan);
    if (!process) return fail(process.error());
    pipe->write.close();
    GPUWARD_TRY(wait_until_holding(pipe->read, start.name));
    return process;
  }

  std::map<std::string, std::vector<os::Process>> groups_;
};

class Player {
 public:
  Player(Session& session, const PlayOptions& options, Names given)
      : session_(session),
        options_(options),
        given_(given),
        names_(std::move(given)),
        reader_(options.kmsg) {}

  int play(const Incident& incident) {
    const sigset_t set = stop_signals();
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    const std::uint64_t start = monotonic_ns();
    for (const Step& step : incident.steps) {
      if (const int stopped = sleep_until(start + step.at_ns); stopped != 0) {
        std::printf("stopped; what was set stays set: gpusim heal\n");
        return 128 + stopped;
      }
      std::printf("%9.3f s  %s\n", static_cast<double>(monotonic_ns() - start) / 1e9,
                  joined(step.words).c_str());
      const auto done = take(step);
      std::fflush(stdout);
      if (done) continue;
      std::fprintf(stderr, "%s:%u: %s\n", options_.file.c_str(), step.line,
                   done.error().message().c_str());
      return 1;
    }
    return 0;
  }

 private:
  Result<void> take(const Step& step) {
    auto deed = reader_.read(step.words, names_);
    if (!deed) return fail(deed.error());
    if (const auto* command = std::get_if<Command>(&*deed)) {
      return command->action(session_, command->request);
    }
    if (const auto* end = std::get_if<End>(&*deed)) {
      if (given_.contains(end->name)) return note("not ours to end");
      cast_.end(end->name);
      names_.erase(end->name);
      return {};
    }
    const Start& start = std::get<Start>(*deed);
    if (const auto found = given_.find(start.name); found != given_.end()) {
      return note("is process " + std::to_string(found->second) + ", as said");
    }
    const auto pid = cast_.start(start);
    if (!pid) return fail(pid.error());
    names_[start.name] = *pid;
    return note("process " + std::to_string(*pid));
  }

  static Result<void> note(const std::string& text) {
    std::printf("%13s%s\n", "", text.c_str());
    return {};
  }

  Session& session_;
  const PlayOptions& options_;
  const Names given_;
  Names names_;
  LineReader reader_;
  Cast cast_;
};

Result<Names> read_names(const std::vector<std::string>& texts) {
  Names names;
  for (const std::string& text : texts) {
    const std::size_t equals = std::min(text.find('='), text.size());
    char* end = nullptr;
    const std::string number = text.substr(std::min(equals + 1, text.size()));
    const long pid = std::strtol(number.c_str(), &end, 10);
    if (!is_name(text.substr(0, equals)) || number.empty() || *end != 0 || pid <= 0 ||
        pid > (1 << 22)) {
      return fail(Errc::invalid, "read --name '" + text + "'; NAME=PID is meant");
    }
    names[text.substr(0, equals)] = static_cast<int>(pid);
  }
  return names;
}

int say(const Error& error, int code) {
  std::fprintf(stderr, "gpusim: %s\n", error.message().c_str());
  return code;
}

}  // namespace

int play(Session& session, const std::string& state, const PlayOptions& options) {
  const auto given = read_names(options.names);
  if (!given) return say(given.error(), 2);
  const auto text = os::read_file(options.file);
  if (!text) return say(text.error(), 1);
  Incident incident = parse_incident(*text);
  // Where there is nothing to be written, any name will do.
  check_incident(incident, *given, options.check_only && options.kmsg.empty() ? "-" : options.kmsg);
  for (const Problem& problem : incident.problems) {
    std::fprintf(stderr, "%s:%u: %s\n", options.file.c_str(), problem.line, problem.what.c_str());
  }
  if (!incident.problems.empty()) return 2;
  if (options.check_only) {
    std::printf("%s: %zu steps\n", options.file.c_str(), incident.steps.size());
    return 0;
  }
  if (const auto opened = open_state(session, state, true); !opened) return say(opened.error(), 1);
  return Player(session, options, *given).play(incident);
}

}  // namespace gpuward::gpusim::tool
