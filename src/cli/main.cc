// gpuward: the command people type. This file reads the command line; each command has a room of
// its own beside it.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/units.h"
#include "base/utf8.h"
#include "cli/cards.h"
#include "cli/completion.h"
#include "cli/demo.h"
#include "cli/doctor.h"
#include "cli/events.h"
#include "cli/explain.h"
#include "cli/jobs.h"
#include "cli/look_commands.h"
#include "cli/metrics.h"
#include "cli/ps.h"
#include "cli/reap.h"
#include "cli/release.h"
#include "cli/reload.h"
#include "cli/run.h"
#include "cli/service_commands.h"
#include "config/keys.h"
#include "domain/exit_code.h"
#include "domain/service.h"

namespace {

using namespace gpuward;

// The options of each command, kept where the parser can write them.
struct Options {
  cli::RunOptions run;
  cli::UpOptions up;
  cli::ServiceOptions service;
  cli::StatusOptions status;
  cli::LogsOptions logs;
  std::vector<std::string> check_files;
  std::string timeout;
  std::string shell;
  std::string metrics_listen;
  std::string explain_service;
  std::string release_service;
  cli::EventsOptions events;
  std::string since;
  std::size_t lines = 0;
  std::string head;
  cli::DemoOptions demo;
  std::string jobs_service;
  std::uint64_t job = 0;
  bool jobs_json = false;
  std::string card;
  std::string why;
  cli::DrainOptions drain;
  cli::ReapOptions reap;
  bool ps_json = false;
  bool doctor_json = false;
  bool plan_json = false;
  bool release_json = false;
  bool explain_json = false;
  bool card_json = false;
};

CLI::Validator service_name() {
  return {[](const std::string& name) {
            return is_known_name(name)
                       ? std::string()
                       : "'" + printable(name) + "' cannot be the name of a service";
          },
          ""};
}

std::chrono::milliseconds time_or_throw(const std::string& option, const std::string& text) {
  const auto time = parse_duration(text);
  if (!time)
    throw CLI::ValidationError(option, "'" + text + "' is no time; write it as in 30s or 2m");
  return *time;
}

void add_looks(CLI::App& app, Options& options, int& exit_code) {
  auto* status = app.add_subcommand("status", "what every service does, with evidence");
  status->add_option("service", options.status.services, "only these, with their trees")
      ->check(service_name());
  status->add_flag("--json", options.status.json, "for programs");
  status->add_flag("-w,--watch", options.status.watch, "again each second, until Ctrl-C");
  status->callback([&] { exit_code = cli::status(options.status); });

  auto* ps =
      app.add_subcommand("ps", "every process that holds a GPU, with its owner; needs nothing");
  ps->add_flag("--json", options.ps_json, "for programs");
  ps->callback([&] { exit_code = cli::ps(options.ps_json); });

  auto* logs = app.add_subcommand("logs", "what a service printed");
  logs->add_option("service", options.logs.service)->required()->check(service_name());
  logs->add_flag("-f,--follow", options.logs.follow, "go on as it prints");
  logs->add_option("-n,--lines", options.logs.lines, "how many lines to begin with")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  logs->callback([&] { exit_code = cli::logs(options.logs); });

  auto* explain = app.add_subcommand(
      "explain",
      "everything that is done to a service from outside, why, and how to have it otherwise");
  explain->add_option("service", options.explain_service)->required()->check(service_name());
  explain->add_flag("--json", options.explain_json, "for programs");
  explain->callback(
      [&] { exit_code = cli::explain(options.explain_service, options.explain_json); });

  auto* demo = app.add_subcommand(
      "demo", "see it work in 90 seconds: leftovers, receipt, utilisation, proof; leaves nothing");
  demo->add_flag("--simulated", options.demo.simulated,
                 "on the simulated GPU, even beside a real one");
  demo->callback([&] { exit_code = cli::demo(options.demo); });

  auto* check = app.add_subcommand(
      "check", "find every problem of a configuration without starting anything");
  check->add_option("file", options.check_files, "default: all *.toml of the etc folder");
  check->callback([&] { exit_code = cli::check(options.check_files); });
}

void add_doctor(CLI::App& app, Options& options, int& exit_code) {
  auto* doctor = app.add_subcommand(
      "doctor", "what this machine costs your services, and how to mend it; needs nothing");
  doctor->add_flag("--json", options.doctor_json, "for programs");
  doctor->footer(
      "Each line: OK, WARN, FAIL, or UNSEEN for what cannot be seen from here or is not here.\n"
      "It sets nothing: what to do is said, and yours to do. exit: 0 OK, 1 WARN, 2 FAIL");
  doctor->callback([&] { exit_code = cli::doctor(options.doctor_json); });
}

void add_metrics(CLI::App& app, Options& options, int& exit_code) {
  auto* metrics = app.add_subcommand(
      "metrics", "every number of status and ps, for Prometheus: once, or served");
  metrics->add_option("--listen", options.metrics_listen,
                      "serve GET /metrics there: 127.0.0.1:9477, [::1]:9477 or unix:PATH");
  metrics->footer("All metrics: docs/metrics.md. Only this machine is listened to.");
  metrics->callback([&] { exit_code = cli::metrics(options.metrics_listen); });
}

void add_ledger(CLI::App& app, Options& options, int& exit_code) {
  auto* events = app.add_subcommand("events", "what has happened, and why");
  auto* audit = app.add_subcommand(
      "audit", "who wanted what, why, on what evidence, and what came of it: the whole ledger");
  for (auto* command : {events, audit}) {
    command->add_option("service", options.events.services, "only of these")->check(service_name());
    command->add_option("--since", options.since, "only of the last so long, as in 2h");
    command->add_option("-n,--lines", options.lines, "only the newest so many; default: 50")
        ->check(CLI::Range(1, 1'000'000));
    command->add_flag("--json", options.events.json, "one object a line, for programs");
  }
  events->add_flag("-f,--follow", options.events.follow, "go on as things happen");
  const auto finish = [&options] {
    if (!options.since.empty()) options.events.since = time_or_throw("--since", options.since);
    if (options.lines != 0) options.events.lines = options.lines;
  };
  events->callback([&options, &exit_code, finish] {
    finish();
    exit_code = cli::events(options.events);
  });
  auto* verify =
      audit->add_subcommand("verify", "does every entry still follow from the one before it?");
  verify->add_option("--head", options.head, "that was noted elsewhere, as syslog does daily");
  verify->add_flag("--json", options.events.json, "for programs");
  audit->callback([&options, &exit_code, finish, verify] {
    finish();
    exit_code = verify->parsed() ? cli::audit_verify(options.head, options.events.json)
                                 : cli::audit(options.events);
  });
}

void add_completion(CLI::App& app, Options& options, int& exit_code) {
  auto* script =
      app.add_subcommand("completion", "the script that lets your shell complete gpuward");
  script->add_option("shell", options.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  script->footer(
      "bash: source <(gpuward completion bash), in ~/.bashrc; zsh likewise in ~/.zshrc,\n"
      "after compinit; fish: gpuward completion fish | source, in config.fish");
  script->callback([&] { exit_code = cli::completion(options.shell); });
}

void add_take_over(CLI::App& start, CLI::Option& json, Options& options) {
  auto* take_over = start.add_flag(
      "--take-over", options.service.take_over,
      "end first what holds its port and was not started by gpuward: shown, then asked for");
  start.add_flag("--yes", options.service.yes, "without asking")->needs(take_over);
  json.needs(take_over);
  start.footer(
      "--take-over ends exactly the processes it shows, by TERM, the service's stop.grace and "
      "KILL,\n"
      "and proves that the port is free. Nothing of yours above this command, of another user, of\n"
      "a container or of gpuward is ended: 1. What is left, or a port taken again: 4.");
}

void add_services(CLI::App& app, Options& options, int& exit_code) {
  auto* up = app.add_subcommand("up", "start the warden and every autostart service");
  up->add_option("-c,--config", options.up.files,
                 "these files instead of all *.toml of the etc folder");
  up->add_flag("--foreground", options.up.foreground, "do not return: for systemd");
  up->callback([&] { exit_code = cli::up(options.up); });

  auto* plan =
      app.add_subcommand("plan", "what the configuration files would change; does nothing");
  plan->add_flag("--json", options.plan_json, "for programs");
  plan->callback([&] { exit_code = cli::plan(options.plan_json); });
  auto* reload = app.add_subcommand(
      "reload", "take over what has changed in the files; no process is touched");
  reload->add_flag("--json", options.plan_json, "for programs");
  reload->callback([&] { exit_code = cli::reload(options.plan_json); });

  struct Command {
    const char* name;
    const char* what;
    int (*act)(const cli::ServiceOptions&);
  };
  for (const auto& [name, what, act] :
       {Command{"start", "start services; returns when they are ready", cli::start},
        Command{"stop", "end services and prove that nothing is left", cli::stop},
        Command{"restart", "stop, prove, start again", cli::restart},
        Command{"down", "stop every service, then the warden", cli::down}}) {
    auto* command = app.add_subcommand(name, what);
    const bool all = std::string_view(name) == "down";
    if (!all)
      command->add_option("service", options.service.services)->required()->check(service_name());
    command->add_option("--timeout", options.timeout, "give up waiting after this long, as in 30s");
    const bool starts = act == cli::start;
    auto* json = command->add_flag(
        "--json", options.service.json,
        starts ? "what was taken over, for programs" : "the receipts, for programs");
    if (starts) add_take_over(*command, *json, options);
    if (starts || act == cli::restart)
      command->add_flag("--anyway", options.service.anyway,
                        "also onto a card that is cordoned or quarantined");
    command->callback([&options, &exit_code, act] {
      if (!options.timeout.empty())
        options.service.timeout = time_or_throw("--timeout", options.timeout);
      exit_code = act(options.service);
    });
  }
}

void add_cards(CLI::App& app, Options& options, int& exit_code) {
  constexpr const char* kGpu = "index, UUID or the beginning of one, PCI id";
  auto* cordon = app.add_subcommand(
      "cordon", "nothing is started on a card any more that was on it; what runs is not touched");
  cordon->add_option("gpu", options.card, kGpu)->required();
  cordon->add_option("--why", options.why, "for those who find it so");
  cordon->callback([&] { exit_code = cli::cordon(options.card, options.why, options.card_json); });
  auto* uncordon = app.add_subcommand("uncordon", "a card is free to be used again");
  uncordon->add_option("gpu", options.card, kGpu)->required();
  uncordon->callback([&] { exit_code = cli::uncordon(options.card, options.card_json); });
  for (auto* command : {cordon, uncordon})
    command->add_flag("--json", options.card_json, "for programs");

  auto* drain = app.add_subcommand(
      "drain", "cordon a card and stop every service on it: for a reset or a driver update");
  drain->add_option("--gpu", options.drain.gpu, kGpu)->required();
  drain->add_option("--why", options.drain.why, "for those who find it so");
  drain->add_option("--timeout", options.timeout, "give up waiting after this long, as in 30s");
  drain->add_flag("--dry-run", options.drain.dry_run, "only say who is on it");
  drain->add_flag("--json", options.drain.json, "for programs");
  drain->footer(
      "What gpuward did not start is named and never ended: exit 4, as for survivors. A service "
      "that\nanother one requires is not stopped from under it: name both to gpuward stop first.");
  drain->callback([&] {
    if (!options.timeout.empty())
      options.drain.timeout = time_or_throw("--timeout", options.timeout);
    exit_code = cli::drain(options.drain);
  });
}

void add_jobs(CLI::App& app, Options& options, int& exit_code) {
  auto* jobs = app.add_subcommand("jobs", "who waits for a service at the gateway, and who is in");
  jobs->add_option("service", options.jobs_service)->required()->check(service_name());
  jobs->add_flag("--json", options.jobs_json, "for programs");
  jobs->footer("Nothing of what is in a job is shown. exit: 5 when no gateway runs");
  jobs->callback([&] { exit_code = cli::jobs(options.jobs_service, options.jobs_json); });

  auto* cancel = app.add_subcommand("cancel", "end one job: its client is told, its place is free");
  cancel->add_option("job", options.job, "its number, as 'gpuward jobs' tells it")->required();
  cancel->callback([&] { exit_code = cli::cancel(options.job); });
}

void add_release(CLI::App& app, Options& options, int& exit_code) {
  auto* release = app.add_subcommand(
      "release", "give a running service up: its processes live on, gpuward leads them no more");
  release->add_option("service", options.release_service)->required()->check(service_name());
  release->add_flag("--json", options.release_json, "the receipt, for programs");
  release->footer(
      "No process is touched, and none is ended, restarted or counted by gpuward from then on. "
      "What\nthey print still comes into the log. It cannot be taken back; 'start' begins a new "
      "tree beside\nthem. To hand over single processes whenever a service ends: key 'release' of "
      "its file.");
  release->callback(
      [&] { exit_code = cli::release(options.release_service, options.release_json); });
}

void add_reap(CLI::App& app, Options& options, int& exit_code) {
  auto* reap = app.add_subcommand(
      "reap", "end what holds GPU memory and has outlived its service; shows it first");
  reap->alias("clean");
  reap->add_option("what", options.reap.names, "only of these services, or only these pids")
      ->option_text("[SERVICE|PID]...");
  reap->add_flag("--dry-run", options.reap.dry_run, "the list alone; ends nobody");
  reap->add_flag("--yes", options.reap.yes, "without asking");
  reap->add_flag("--json", options.reap.json, "the list and the receipts, for programs");
  reap->footer(
      "ORPHANs are ended: ours by their records, of a service that is over. IDLE_HOLDERs of a "
      "service\nthat runs are only told of, and ended where you name them. STRANGERs are ended "
      "only "
      "where a\nrule of your files names them: [reap] strangers. The receipt names the bytes that "
      "are back,\nproven by a look at the cards. 0: done and proven; 1: refused; 4: not proven.");
  reap->callback([&] { exit_code = cli::reap(options.reap); });
}

bool knows_or_complains(const CLI::App& app, const std::string& word) {
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (command->check_name(word)) return true;  // or an alias
  std::vector<std::string_view> known;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  const auto begins = [&](std::string_view name) { return name.starts_with(word); };
  const auto first = std::ranges::find_if(known, begins);
  const bool only = first != known.end() && std::ranges::count_if(known, begins) == 1;
  const auto near = only ? *first : config::nearest(word, known);
  std::fprintf(stderr, "gpuward: unknown command '%s'%s%s%s\nrun: gpuward --help\n",
               printable(word).c_str(), near.empty() ? "" : "; did you mean '",
               std::string(near).c_str(), near.empty() ? "" : "'?");
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"gpuward keeps GPU services alive, honest and busy, without touching their code."};
  app.name("gpuward");
  app.set_version_flag("--version", "gpuward " GPUWARD_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;

  Options options;
  auto& run = options.run;
  auto* run_command =
      app.add_subcommand("run", "run a command as one owned tree; exits with its code");
  run_command->add_option("--name", run.name, "its name in status and logs");
  run_command->add_flag("--detach", run.detach, "return as soon as it runs");
  run_command->add_option("--pid-file", run.pid_file, "write main's pid there, for old scripts");
  run_command
      ->add_option_function<std::string>(
          "--containment",
          [&](const std::string& word) {
            for (const auto wish : {ContainmentWish::automatic, ContainmentWish::cgroup,
                                    ContainmentWish::pidns, ContainmentWish::subreaper})
              if (word == to_string(wish)) run.containment = wish;
          },
          "how its tree is held: auto, or nothing but cgroup, pidns or subreaper")
      ->check(CLI::IsMember({"auto", "cgroup", "pidns", "subreaper"}));
  run_command
      ->add_option_function<std::string>(
          "--gpu",
          [](const std::string& card) {
            if (card != "none")
              throw CLI::ValidationError("--gpu",
                                         "'" + card +
                                             "' is not supported yet; 'none', the default, "
                                             "places nothing: cards are only observed");
          },
          "none: no card is chosen for it, what it uses is observed")
      ->default_str("none");
  run_command->add_option("command", run.command, "after --: the command and its arguments")
      ->required();
  run_command->footer(
      "Its standard input is /dev/null. Ctrl-C sends TERM to its whole tree and KILL after the "
      "grace;\n"
      "a second Ctrl-C ends the grace.");
  run_command->callback([&] { exit_code = cli::run(run); });
  add_services(app, options, exit_code);
  add_jobs(app, options, exit_code);
  add_release(app, options, exit_code);
  add_cards(app, options, exit_code);
  add_reap(app, options, exit_code);
  add_looks(app, options, exit_code);
  add_doctor(app, options, exit_code);
  add_metrics(app, options, exit_code);
  add_ledger(app, options, exit_code);
  add_completion(app, options, exit_code);

  // Before the parser: the words of an unfinished line are not for it.
  if (argc > 2 && argv[1] == std::string_view("__complete"))
    return cli::complete(app, {argv + 2, argv + argc});
  // Before the parser: it calls an unknown command a missing one.
  if (argc > 1 && argv[1][0] != '-' && !knows_or_complains(app, argv[1])) return kUsage;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    const bool ran = argc > 2 && argv[1] == std::string_view("run");
    if (code != 0 && ran && std::find(argv, argv + argc, std::string_view("--")) == argv + argc)
      std::fputs("put -- before the command: gpuward run [OPTIONS] -- COMMAND ARGUMENTS\n", stderr);
    return code == 0 ? 0 : kUsage;
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::perror("gpuward: the output could not be written");
    return exit_code == kDone ? kFailed : exit_code;
  }
  return exit_code;
}
