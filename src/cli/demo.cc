#include "cli/demo.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <csignal>
#include <cstdio>
#include <numeric>

#include "cli/demo_article.h"
#include "cli/film_clients.h"
#include "cli/look_commands.h"
#include "cli/ps.h"
#include "cli/service_commands.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/gpu_look.h"
#include "os/clock.h"
#include "os/proc_fs.h"
#include "os/socket.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;
using std::chrono::seconds;

constexpr auto kMeasured = seconds(12);
constexpr auto kSampled = std::chrono::milliseconds(167);  // the driver's own sampling period
constexpr double kLeastGain = 1.5;
constexpr std::size_t kIncidentFilms = 12;
constexpr Bytes kLingerMemory = 1109_MiB;
constexpr unsigned kIdleLeft = 3, kBurningLeft = 4;

void say(const std::string& text) {
  std::printf("\n%s\n", text.c_str());
  (void)std::fflush(stdout);
}

void command_line(const std::string& text) {
  std::printf("%s\n", paint(Tone::faint, "$ gpuward " + text).c_str());
  (void)std::fflush(stdout);
}

ServiceOptions named(const char* service) {
  ServiceOptions options;
  options.services = {service};
  return options;
}

// One of the demo's claims; those that did not hold are told at once and counted.
class Claims {
 public:
  bool hold(bool held, const std::string& what) {
    std::printf("  %s %s\n",
                paint(held ? Tone::good : Tone::bad, held ? "ok" : "DOES NOT HOLD").c_str(),
                what.c_str());
    (void)std::fflush(stdout);
    if (!held) ++broken_;
    return held;
  }
  unsigned broken() const { return broken_; }

 private:
  unsigned broken_ = 0;
};

struct Leftover {
  Pid pid;
  Bytes memory;
  double cores = 0;  ///< CPUs it burns
};

std::uint64_t cpu_ticks(Pid pid) {
  const auto stat = os::read_stat(pid);
  return stat ? stat->cpu_ticks : 0;
}

// Every process of the tree but its main, with what it holds and burns; takes a second to measure.
std::vector<Leftover> measure_leftovers(const ReplicaReport& replica, const GpuSnapshot& gpu) {
  std::vector<Leftover> found;
  for (const auto& process : replica.tree)
    if (process.pid != replica.main) found.push_back({process.pid, {}, 0});
  std::vector<std::uint64_t> before;
  before.reserve(found.size());
  for (const auto& one : found) before.push_back(cpu_ticks(one.pid));
  const Instant begun = os::now();
  (void)::poll(nullptr, 0, 1000);  // the time over which CPU use is measured
  const double ticks = std::chrono::duration<double>(os::now() - begun).count() *
                       static_cast<double>(::sysconf(_SC_CLK_TCK));
  for (std::size_t i = 0; i < found.size(); ++i) {
    found[i].cores = static_cast<double>(cpu_ticks(found[i].pid) - before[i]) / ticks;
    for (const auto& device : gpu.devices)
      for (const auto& row : device.processes)
        if (gpu.pids_are_ours && row.pid == static_cast<std::uint32_t>(found[i].pid.number))
          found[i].memory += row.memory.value_or(Bytes{});
  }
  return found;
}

Result<StatusReport> ask_status() {
  auto home = control::find_home();
  if (!home) return fail(std::move(home).error());
  auto channel = connect_warden(*home);
  if (!channel) return fail(std::move(channel).error());
  auto answer = ask_warden(*channel, WardenRequest{}, os::now() + seconds(10));
  if (!answer) return fail(std::move(answer).error());
  if (!answer->status) return fail(Errc::bad_message, "read the warden's status");
  return std::move(*answer->status);
}

// Busy of the fullest card, sampled while clients upload without pause.
struct Measured {
  std::vector<double> busy;
  std::size_t films = 0;
  double mean() const {
    return busy.empty()
               ? 0
               : std::accumulate(busy.begin(), busy.end(), 0.0) / static_cast<double>(busy.size());
  }
};

// Means of equal shares of the samples, one a column.
std::vector<double> columns_of(const std::vector<double>& samples, std::size_t columns) {
  std::vector<double> out;
  for (std::size_t i = 0; i < columns && !samples.empty(); ++i) {
    const std::size_t from = i * samples.size() / columns;
    const std::size_t to = std::max(from + 1, (i + 1) * samples.size() / columns);
    out.push_back(std::accumulate(samples.begin() + static_cast<std::ptrdiff_t>(from),
                                  samples.begin() + static_cast<std::ptrdiff_t>(to), 0.0) /
                  static_cast<double>(to - from));
  }
  return out;
}

class Story {
 public:
  Story(const DemoStage& stage, std::vector<Film> films)
      : stage_(stage), films_(std::move(films)) {}

  int tell() {
    if (!open_the_service()) return 1;
    if (!incident() || !clear_the_room() || !every_film() || !stop_with_proof()) return 1;
    beside_the_article();
    if (claims_.broken() != 0) {
      say("demo: " + std::to_string(claims_.broken()) + " of its claims did not hold");
      return 1;
    }
    say("All of it held: no process, no GPU memory, no port is left." +
        std::string(stage_.simulated() ? " (The GPU was simulated.)" : ""));
    return 0;
  }

 private:
  bool open_the_service() {
    say(stage_.simulated()
            ? "1. No real GPU here: a simulated one of 40 GiB, and a service that reads chest films"
            : "1. A service that reads chest films, on the GPU of this machine");
    std::printf("   The demo confines itself to %u of %u CPUs, as the article did.\n",
                stage_.cpus(), stage_.cpus_here());
    command_line("up");
    return claims_.hold(up({}) == 0, "the service is up and answers");
  }

  bool incident() {
    say("2. The incident: three films at a time, clients that leave; seed 28 makes the service "
        "misbehave");
    const auto outcomes =
        send_films(films_, {.port = stage_.port(), .most = kIncidentFilms, .ask_faults = true});
    const auto answered = std::ranges::count(outcomes, 200, &FilmOutcome::status);
    std::printf("   %zu films sent, %td answered; the clients of the others waited 6 s and left\n",
                outcomes.size(), answered);
    command_line("status");
    (void)status({});
    command_line("ps");
    (void)ps(false);
    return tell_leftovers() && measure("with the leftovers", before_);
  }

  bool tell_leftovers() {
    const auto report = ask_status();
    if (!report || report->services.empty() || report->services[0].replicas.empty())
      return claims_.hold(false, "the warden tells what is left");
    const auto left = measure_leftovers(report->services[0].replicas[0],
                                        control::look_at_gpus(os::now() + seconds(5)));
    unsigned idle = 0, burning = 0;
    Bytes idle_bytes, burning_bytes;
    double cores = 0;
    for (const auto& one : left) {
      (one.cores < 0.05 ? idle : burning) += 1;
      (one.cores < 0.05 ? idle_bytes : burning_bytes) += one.memory;
      cores += one.cores;
    }
    std::printf(
        "\n   In plain words: all %zu films are over, yet %zu children stay. %u are idle and hold "
        "%s of GPU\n"
        "   memory; %u burn %.1f of %u CPUs and hold %s. The service says that it is well.\n",
        kIncidentFilms, left.size(), idle, to_string(idle_bytes).c_str(), burning, cores,
        stage_.cpus(), to_string(burning_bytes).c_str());
    return claims_.hold(idle == kIdleLeft && burning == kBurningLeft &&
                            idle_bytes >= Bytes{kIdleLeft * kLingerMemory.count},
                        "seven children are left: three idle ones with " + to_string(idle_bytes) +
                            ", four that burn CPU");
  }

  bool measure(const std::string& when, Measured& into) {
    auto watch = control::GpuWatch::start();
    if (!watch) return claims_.hold(false, "the GPU is measured: " + watch.error().message());
    std::string trouble;
    const Beat beat{kSampled, [&] {
                      const auto look = watch->look(os::now() + seconds(2));
                      if (!look) {
                        trouble = look.error().message();
                        return;
                      }
                      std::uint32_t busy = 0;
                      for (const auto& device : look->devices)
                        busy = std::max(busy, device.busy_percent.value_or(0));
                      into.busy.push_back(busy);
                      draw_progress(into.busy);
                    }};
    // Two seconds to fill the service, which are not measured.
    (void)send_films(films_, {.port = stage_.port(), .until = os::now() + seconds(2)});
    const auto outcomes =
        send_films(films_, {.port = stage_.port(), .until = os::now() + kMeasured}, beat);
    into.films = static_cast<std::size_t>(std::ranges::count(outcomes, 200, &FilmOutcome::status));
    if (::isatty(STDOUT_FILENO) == 1) std::printf("\r\x1b[K");
    if (!trouble.empty()) return claims_.hold(false, "the GPU is measured: " + trouble);
    std::printf("   %s: %s %3.0f %% busy, %zu films in %lld s\n", when.c_str(),
                sparkline(columns_of(into.busy, 36), 100).c_str(), into.mean(), into.films,
                static_cast<long long>(kMeasured.count()));
    (void)std::fflush(stdout);
    return true;
  }

  static void draw_progress(const std::vector<double>& busy) {
    if (::isatty(STDOUT_FILENO) != 1) return;
    const std::size_t most = 72;
    const std::size_t from = busy.size() > most ? busy.size() - most : 0;
    std::printf(
        "\r   %s",
        sparkline({busy.begin() + static_cast<std::ptrdiff_t>(from), busy.end()}, 100).c_str());
    (void)std::fflush(stdout);
  }

  bool clear_the_room() {
    say("3. They go, with a receipt");
    command_line("restart xray");
    if (!claims_.hold(restart(named("xray")) == 0,
                      "restarted: the old tree was proven empty first"))
      return false;
    if (!measure("with them gone    ", after_)) return false;
    const auto both = [](const std::vector<double>& a, std::vector<double> b) {
      b.insert(b.begin(), a.begin(), a.end());
      return b;
    }(columns_of(before_.busy, 36), columns_of(after_.busy, 36));
    // Leftovers that let nothing through leave no ratio: from nothing, anything is a gain.
    const bool from_nothing = before_.mean() < 0.5;
    const double gain = from_nothing ? 0 : after_.mean() / before_.mean();
    char ratio[40] = "from nothing";
    if (!from_nothing) (void)std::snprintf(ratio, sizeof ratio, "x %.2f", gain);
    std::printf(
        "\n   %s\n   GPU busy %.0f %% -> %.0f %%, %s, on the same load (the article: 28 -> 89 "
        "%%)\n",
        sparkline(both, 100).c_str(), before_.mean(), after_.mean(), ratio);
    char text[120];
    (void)std::snprintf(text, sizeof text, "after / before is at least %.1f: %s", kLeastGain,
                        ratio);
    claims_.hold(from_nothing ? after_.mean() >= 1 : gain >= kLeastGain, text);
    return true;
  }

  bool every_film() {
    say("4. Every film is read (figures measured on pixels; no diagnosis)");
    auto outcomes =
        send_films(films_, {.port = stage_.port(), .most = films_.size(), .patience = seconds(30)});
    std::ranges::sort(outcomes, {}, &FilmOutcome::film);
    for (const auto& one : outcomes)
      std::printf("   %d  %s: %s\n", one.status, films_[one.film].name.c_str(),
                  summary_of(one.body).c_str());
    const auto read = std::ranges::count(outcomes, 200, &FilmOutcome::status);
    return claims_.hold(
        static_cast<std::size_t>(read) == films_.size(),
        std::to_string(read) + " of " + std::to_string(films_.size()) + " films have their report");
  }

  static std::string summary_of(const std::string& body) {
    boost::system::error_code code;
    const auto answer = json::parse(body, code);
    const auto* summary = code ? nullptr : answer.find_pointer("/results/0/report/summary", code);
    if (summary == nullptr || !summary->is_string()) return "no report";
    std::string text(summary->as_string());
    if (text.size() > 100) text = text.substr(0, text.rfind(' ', 99)) + " …";
    return text;
  }

  bool stop_with_proof() {
    say("5. Stop, with proof");
    command_line("stop xray");
    const bool stopped = stop(named("xray")) == 0;
    claims_.hold(stopped, "stop says: no process, memory back");
    nothing_is_left(stage_.port());
    command_line("down");
    return claims_.hold(down({}) == 0, "the warden has gone");
  }

  void nothing_is_left(std::uint16_t port) {
    const auto gpu = control::look_at_gpus(os::now() + seconds(5));
    std::size_t rows = 0;
    for (const auto& device : gpu.devices)
      for (const auto& row : device.processes)
        if (auto command = os::read_command(Pid{static_cast<std::int32_t>(row.pid)});
            command && command->find("gpuward-xray") != std::string::npos)
          ++rows;
    claims_.hold(rows == 0, "the driver lists no process of the service");
    const auto taken = os::port_taken(*os::parse_tcp_address("127.0.0.1:" + std::to_string(port)));
    claims_.hold(taken && !*taken, "port " + std::to_string(port) + " is free");
  }

  void beside_the_article() {
    say("6. Beside it: the same under the article's scripts (setsid, PID file, TERM, then KILL)");
    const auto left = play_article(stage_, films_);
    if (!claims_.hold(left.has_value(),
                      left ? "the article's stop script says that it stopped"
                           : "the article's scripts ran: " + left.error().message()))
      return;
    std::printf("   It left %zu processes, which hold %s of GPU memory.\n", left->processes,
                to_string(left->gpu_memory).c_str());
    claims_.hold(left->processes > 0, "the article's scripts leave something");
    command_line("stop article");
    claims_.hold(stop(named("article")) == 0, "gpuward ends and proves that, too");
    nothing_is_left(left->port);
  }

  const DemoStage& stage_;
  std::vector<Film> films_;
  Claims claims_;
  Measured before_, after_;
};

// Ends with the process that plays the story, however that ends.
void close_on_signals(sigset_t* ours) {
  sigemptyset(ours);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) sigaddset(ours, number);
  ::sigprocmask(SIG_BLOCK, ours, nullptr);
}

// The exit code of the child, or 128 + the signal that ended the wait; then the child is ended.
int await_story(pid_t child, const sigset_t& ours) {
  for (;;) {
    int number = 0;
    if (::sigwait(&ours, &number) != 0) continue;
    if (number != SIGCHLD) ::kill(child, SIGKILL);  // our own unreaped child
    int how = 0;
    const pid_t ended = ::waitpid(child, &how, number == SIGCHLD ? WNOHANG : 0);
    if (ended != child) continue;
    if (number != SIGCHLD) return 128 + number;
    if (WIFEXITED(how)) return WEXITSTATUS(how);
    std::fprintf(stderr, "gpuward: demo: the story ended by signal %d\n", WTERMSIG(how));
    return 1;
  }
}

}  // namespace

int demo(const DemoOptions& options) {
  sigset_t ours;
  close_on_signals(&ours);
  const Instant begun = os::now();
  auto stage = DemoStage::set_up(options);
  if (!stage) return complain(stage.error());
  auto films = read_films(stage->films());
  if (!films) complain(films.error());
  int code = 1;
  (void)std::fflush(stdout);
  const pid_t parent = ::getpid();
  const pid_t child = films ? ::fork() : -1;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::sigprocmask(SIG_UNBLOCK, &ours, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    code = Story(*stage, std::move(*films)).tell();
    (void)std::fflush(stdout);
    ::_exit(code);
  }
  if (child > 0) code = await_story(child, ours);
  if (code >= 128) std::fprintf(stderr, "\ngpuward: demo: ending what it started\n");
  const bool closed = stage->close();
  if (code == 0)
    std::printf("%s\n", ("took " + to_string(os::now() - begun) + "; next: gpuward ps").c_str());
  return closed ? code : 1;
}

}  // namespace gpuward::cli
