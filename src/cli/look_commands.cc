#include "cli/look_commands.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/utf8.h"
#include "cli/card_curve.h"
#include "cli/cards.h"
#include "cli/device_line.h"
#include "cli/follow.h"
#include "cli/incidents.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "config/config.h"
#include "config/machine_check.h"
#include "config/problem.h"
#include "control/observe.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/controller.h"

namespace gpuward::cli {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(5);
constexpr auto kWatchEvery = std::chrono::seconds(1);

Tone tone_of(Verdict verdict) {
  if (verdict == Verdict::healthy) return Tone::good;
  if (is_sick(verdict)) return Tone::bad;
  return verdict == Verdict::stopped ? Tone::plain : Tone::warn;
}

Result<StatusReport> report_by_anchors(const control::Home& home,
                                       const std::vector<std::string>& names) {
  auto folders = control::list_anchors(home);
  if (!folders) return fail(std::move(folders).error());
  StatusReport report;
  report.cards = kept_marks(home.cards());
  control::HomeGroups groups;
  std::map<std::string, std::vector<control::AnchorView>> services;
  for (const auto& folder : *folders) {
    if (!names.empty() && std::ranges::find(names, folder.service) == names.end()) continue;
    auto view = control::view_anchor(folder, os::now() + kAnswerWithin);
    if (view) {
      services[folder.service].push_back(std::move(*view));
    } else if (auto lost = control::lost_tree(home, folder, groups)) {
      auto& service = report.services.emplace_back();
      service.name = folder.service;
      service.verdict = Verdict::failed;
      service.sentence = *lost;
    }
  }
  for (const auto& [name, views] : services)
    report.services.push_back(control::report_on(name, views, report.gpu, os::now()));
  return report;
}

void print_tree(const ReplicaReport& replica) {
  for (const auto& process : replica.tree) {
    std::printf("    %s%d  %s\n", std::string(std::size_t{2} * process.depth, ' ').c_str(),
                process.pid.number, shortened(process.command, 90).c_str());
  }
}

void print_cards(const StatusReport& report, const CardCurves* curves) {
  for (const auto& device : report.gpu.devices) {
    std::printf("%s%s\n", device_line(device).c_str(),
                mark_text(report.cards, device.uuid).c_str());
    if (curves != nullptr)
      std::printf("  |%s| the last minute\n", paint(Tone::good, curves->of(device.uuid)).c_str());
  }
  for (const auto& mark : report.cards)
    if (mark.quarantined)
      std::printf("%s\n",
                  paint(Tone::bad, "advice: " + advice_for(mark.remedy, mark.index)).c_str());
  const auto note = describe(report.gpu.sight, report.gpu.detail);
  if (!note.empty()) std::printf("GPU: %s\n", note.c_str());
  print_incidents(report);
}

// @p curves: how busy the cards were before; null for a single look.
void print_status(const StatusReport& report, bool detailed, const CardCurves* curves) {
  if (report.warden)
    std::printf("warden: pid %d, version %s, up %s\n", report.warden->pid.number,
                report.warden->version.c_str(),
                to_string(std::chrono::seconds(report.warden->uptime_seconds)).c_str());
  else
    std::printf("warden: none\n");
  if (report.warden && !report.warden->ledger_trouble.empty())
    std::printf(
        "%s\n",
        paint(Tone::bad, "the ledger cannot be written: " + report.warden->ledger_trouble).c_str());
  print_blocked(report.gpu);
  print_cards(report, curves);
  if (report.services.empty()) {
    std::printf("no services\n%s\n",
                paint(Tone::faint, "next: gpuward run -- COMMAND, or gpuward up").c_str());
    return;
  }
  Table table({"SERVICE", "STATE", "PROCESSES", "GPU MEMORY", "ENDPOINT", "HELD BY"});
  for (const auto& service : report.services) {
    std::uint32_t processes = 0;
    std::string memory = "-";
    std::string endpoint = "-";
    for (const auto& replica : service.replicas) {
      processes += replica.processes;
      if (replica.gpu_memory) memory = to_string(*replica.gpu_memory);
      if (!replica.endpoint.empty()) endpoint = replica.endpoint;
    }
    table.row(
        {service.name, service.sentence + " [" + std::string(to_string(service.verdict)) + "]",
         std::to_string(processes), memory, endpoint,
         service.containment ? std::string(to_string(*service.containment)) : "-"},
        tone_of(service.verdict));
  }
  std::fputs(table.text().c_str(), stdout);
  for (const auto& service : report.services) {
    if (!detailed) break;
    std::printf("\n%s\n", service.name.c_str());
    for (const auto& fact : service.evidence)
      std::printf("  %s: %s\n", fact.what.c_str(), fact.value.c_str());
    if (const auto advice = describe(service.action); !advice.empty())
      std::printf("  to do: %s\n", std::string(advice).c_str());
    if (service.containment && !limits_of(*service.containment).empty())
      std::printf("  not promised: %s\n", std::string(limits_of(*service.containment)).c_str());
    for (const auto& replica : service.replicas) print_tree(replica);
  }
  // The one that wants looking at, if there is one.
  auto next = std::ranges::find_if(report.services, [](const ServiceReport& service) {
    return tone_of(service.verdict) == Tone::bad || tone_of(service.verdict) == Tone::warn;
  });
  if (next == report.services.end()) next = report.services.begin();
  std::printf(
      "%s\n",
      paint(Tone::faint, (detailed ? "next: gpuward logs " : "next: gpuward status ") + next->name)
          .c_str());
}

int complain_about_missing(const StatusReport& report, const std::vector<std::string>& names) {
  int code = 0;
  for (const auto& name : names) {
    if (std::ranges::find(report.services, name, &ServiceReport::name) != report.services.end())
      continue;
    std::fprintf(stderr, "gpuward: %s: no such service\nrun: gpuward status, for all there are\n",
                 name.c_str());
    code = kFailed;
  }
  return code;
}

}  // namespace

Result<StatusReport> look(const control::Home& home, const std::vector<std::string>& services,
                          bool brief) {
  auto channel = connect_warden(home);
  if (!channel) return report_by_anchors(home, services);
  WardenRequest request;
  request.services = services;
  request.brief = brief;
  auto answer = ask_warden(*channel, request, os::now() + kAnswerWithin);
  if (answer) return answer->status ? std::move(*answer->status) : StatusReport{};
  // One that hangs is told; one that died between its accept and its answer is none.
  if (answer.error().code == make_error_code(Errc::timed_out))
    return fail(std::move(answer).error());
  return report_by_anchors(home, services);
}

namespace {

int print_look(const control::Home& home, const StatusOptions& options, CardCurves* curves) {
  const bool brief = !options.json && options.services.empty();  // a table without trees
  const auto report = look(home, options.services, brief);
  if (!report) return complain(report.error());
  if (curves != nullptr) curves->add(report->gpu);
  if (options.json)
    std::fputs(status_json(*report, os::now()).c_str(), stdout);
  else if (options.services.empty() || !report->services.empty())
    print_status(*report, !options.services.empty(), curves);
  return complain_about_missing(*report, options.services);
}

// Mistakes end the first look; later ones may pass (a new warden takes over), so the next look
// comes.
int watch(const control::Home& home, const StatusOptions& options) {
  sigset_t ends;
  ::sigemptyset(&ends);
  ::sigaddset(&ends, SIGINT);
  ::sigaddset(&ends, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  const auto asked_to_end = os::Fd::take(::signalfd(-1, &ends, SFD_CLOEXEC));
  if (!asked_to_end) return complain(last_error("wait for Ctrl-C"));
  CardCurves curves;
  const bool redraw = !options.json && ::isatty(STDOUT_FILENO) == 1;
  for (bool first = true;; first = false) {
    std::fputs(redraw ? "\x1b[H\x1b[2J" : first || options.json ? "" : "\n", stdout);
    const int code = print_look(home, options, &curves);
    std::fflush(stdout);
    if (first && code != 0) return code;
    pollfd items[] = {{asked_to_end.get(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    const int ready = ::poll(items, 2, kWatchEvery / std::chrono::milliseconds(1));
    if (ready != 0) return 0;  // asked to end, or nobody reads any more
  }
}

}  // namespace

int status(const StatusOptions& options) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  return options.watch ? watch(*home, options) : print_look(*home, options, nullptr);
}

int logs(const LogsOptions& options) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const std::string path = home->log + "/" + options.service + ".log";
  if (::access(path.c_str(), F_OK) < 0) {
    std::fprintf(stderr,
                 "gpuward: %s: has printed nothing yet, or is no service\nrun: gpuward status\n",
                 options.service.c_str());
    return kFailed;
  }
  if (::access(path.c_str(), R_OK) < 0) return complain(last_error("read the log", path));
  auto log = LogFollower::before_end(path, options.lines);
  if (!log) return complain(log.error());
  log->print_new();
  while (options.follow) {
    pollfd items[] = {{log->fd(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    if (::poll(items, 2, -1) < 0) break;
    if ((items[1].revents & (POLLERR | POLLHUP)) != 0) break;  // nobody reads any more
    log->print_new();
  }
  return 0;
}

namespace {

// Limits that no tree of this machine can have. Without `memory_max` a service is not started;
// without `cpu_weight` it is: that is a note, and no problem.
std::vector<config::Problem> check_limits(const config::Parsed& parsed,
                                          std::vector<config::Problem>& problems) {
  std::vector<config::Problem> notes;
  for (const auto& service : parsed.services) {
    const auto look = [&](os::Controller what, std::string_view key, const char* then,
                          std::vector<config::Problem>& into) {
      const std::string why = os::why_no_controller(what);
      const auto origin = parsed.origins.find(service.name);
      if (why.empty() || origin == parsed.origins.end()) return;
      into.push_back(config::problem_at(
          origin->second.of(key), config::in_quotes(key) + " cannot hold here: " + why + then));
    };
    if (service.limits.memory_max.count != 0)
      look(os::Controller::memory, "memory_max", "; the service would not be started", problems);
    if (service.limits.cpu_weight != 0)
      look(os::Controller::cpu, "cpu_weight", "; the service runs without (a note, no problem)",
           notes);
  }
  return notes;
}

}  // namespace

int check(const std::vector<std::string>& files) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const std::vector<std::filesystem::path> paths(files.begin(), files.end());
  const auto parsed = paths.empty() ? config::load_folder(home->etc) : config::load_files(paths);
  auto problems = parsed.problems;
  const auto machine = config::check_machine(parsed, config::Surroundings::current());
  problems.insert(problems.end(), machine.begin(), machine.end());
  const auto notes = check_limits(parsed, problems);
  config::sort_by_place(problems, files);
  std::fputs((config::render(problems) + config::render(notes)).c_str(), stderr);
  if (!problems.empty()) {
    std::fprintf(stderr, "%zu problem%s\n", problems.size(), problems.size() == 1 ? "" : "s");
    return 1;
  }
  std::printf("no problems: %zu service%s\n", parsed.services.size(),
              parsed.services.size() == 1 ? "" : "s");
  for (const auto& service : parsed.services) {
    const auto program = config::find_program(service, config::Surroundings::current());
    std::printf("  %s: %s\n", service.name.c_str(),
                program ? program->c_str() : service.command.front().c_str());
  }
  for (const auto& service : parsed.services)
    if (service.on_anchor_death == OnAnchorDeath::kill &&
        service.containment != ContainmentWish::pidns)
      std::printf(
          "note: %s: 'on_anchor_death = \"kill\"' is kept at once only while the warden lives; "
          "with "
          "'containment = \"pidns\"' always\n",
          service.name.c_str());
  std::printf("%s\n", paint(Tone::faint, "next: gpuward up").c_str());
  return 0;
}

}  // namespace gpuward::cli
