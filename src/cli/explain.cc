#include "cli/explain.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <vector>

#include "base/units.h"
#include "base/utf8.h"
#include "cli/look_commands.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/anchors.h"
#include "domain/exit_code.h"

namespace gpuward::cli {
namespace {

namespace json = boost::json;

struct Change {
  std::string what;
  std::string value;
  std::string why;
  std::string undo;
  const char* results = "no";  // may it change what the service answers?
};

class Explainer {
 public:
  Explainer(const LaunchPlan& plan, const AnchorState& state) : plan_(plan), state_(state) {}

  std::vector<Change> changes() {
    order();
    place();
    container();
    streams();
    environment();
    rights();
    limits();
    questions();
    end();
    return std::move(changes_);
  }

 private:
  void add(std::string what, std::string value, std::string why, std::string undo,
           const char* results = "no") {
    changes_.push_back(
        {std::move(what), std::move(value), std::move(why), std::move(undo), results});
  }

  void order() {
    const auto list = [](const std::vector<std::string>& names) {
      std::string text;
      for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
      return text;
    };
    if (!plan_.needs.empty())
      add("started after", list(plan_.needs) + ": only once ready, and together with it",
          "'requires'", "no 'requires'");
    if (!plan_.after.empty())
      add("started after", list(plan_.after) + ": once ready or failed, if wanted at all",
          "'after'", "no 'after'");
  }

  void place() {
    if (state_.cgroup.empty())
      add("cgroup", "none: " + std::string(state_.why_no_cgroup.view()),
          "its processes are held by descent alone", "the right to make cgroups");
    else
      add("cgroup", std::string(state_.cgroup.view()),
          "so that none of its processes is overlooked", "-");
    if (state_.level == Containment::pidns)
      add("process numbers", "of its own PID namespace, whose 1 is gpuward's",
          "nobody can leave it, and its end ends all; /proc still shows the numbers of the host",
          "another 'containment'", "unknown");
    add("session", "its own, below its anchor",
        "signals of a terminal do not reach it; orphans come to the anchor", "-");
  }

  void container() {
    const ContainerPlan& c = plan_.container;
    if (c.hold == ContainerHold::not_by_id)
      add("container", "not held: " + c.why, "a stop is never proven", "'docker run' as 'command'");
    if (c.hold != ContainerHold::by_id) return;
    if (c.cidfile_is_ours)
      add("command", "--cidfile=" + c.cidfile + " behind 'run'",
          "its container is known by the id that stands there", "a --cidfile of your own");
    else
      add("container", "known by the id in " + c.cidfile,
          "the file is removed when the container has ended: it would stop the next start", "-");
    add("asked", "POST /containers/ID/kill to " + (c.sockets.empty() ? "no engine" : c.sockets[0]),
        "a container that is left when its client or the grace has ended", "-");
  }

  void streams() {
    add("standard input", "/dev/null", "nobody sits at it", "-");
    add("output", plan_.log_file, "two FIFOs that outlive a crash of gpuward", "log = { ... }");
  }

  // The value of @p name in its environment, for our own variables only.
  std::string own(const char* name) const {
    const auto at = std::ranges::find(plan_.env, name, &EnvVar::name);
    return at == plan_.env.end() ? "" : at->value;
  }

  void environment() {
    add("GPUWARD_TREE", "a random number", "by which its processes are known after a crash", "-");
    if (plan_.port != 0)
      add("PORT, {port}", std::to_string(plan_.port), "a free port for this replica",
          "a fixed port in 'command'");
    if (!state_.notify_name.empty())
      add("NOTIFY_SOCKET", std::string(state_.notify_name.view()), "'notify' is used",
          "another way in 'ready' and 'live'");
    if (plan_.live.kind == LiveKind::notify)
      add("WATCHDOG_USEC", to_string(plan_.live.every), "live.notify", "no 'live'");
    for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
      const std::string venv = own(name);
      if (!venv.empty() && own("PATH").starts_with(venv + "/bin"))
        add("PATH, " + std::string(name), venv, "'venv'", "no 'venv'", "unknown");
    }
    add("taken out", "NOTIFY_SOCKET, WATCHDOG_*, LISTEN_* of systemd",
        "they are for gpuward, not for it", "-");
  }

  void rights() {
    const LaunchRights& r = plan_.rights;
    if (r.uid)
      add("user", std::to_string(*r.uid) + ":" + std::to_string(r.gid), "'user'", "no 'user'");
    if (r.umask) add("umask", octal(*r.umask), "'umask'", "no 'umask'");
    for (const auto& limit : r.limits) {
      const bool core = limit.kind == LimitKind::core && limit.value == 0;
      const std::string value = limit.value == kUnlimited ? "unlimited"
                                : is_in_bytes(limit.kind) ? to_string(Bytes{limit.value})
                                                          : std::to_string(limit.value);
      add("limit " + std::string(to_string(limit.kind)), value,
          core ? "a core file would hold what it works on" : "'limits'",
          core ? "limits = { core = \"unlimited\" }" : "no 'limits'");
    }
    if (r.capabilities) add("capabilities", "only those listed", "'caps'", "no 'caps'");
    if (r.no_new_privileges) add("no_new_privs", "true", "'no_new_privs'", "false");
    if (r.oom_score_adj)
      add("oom_score_adj", std::to_string(*r.oom_score_adj), "'oom_score_adj'", "leave it out");
    if (r.nice) add("nice", std::to_string(*r.nice), "'nice'", "leave it out");
  }

  void limits() {
    const LimitState& state = state_.limits;
    const auto or_trouble = [](const std::string& value, std::string_view trouble) {
      return trouble.empty() ? value : "not in force: " + std::string(trouble);
    };
    if (plan_.limits.memory_max.count != 0)
      add("memory of the tree",
          or_trouble(to_string(plan_.limits.memory_max), state.memory_trouble),
          "'memory_max': beyond it the kernel kills", "no 'memory_max'");
    if (plan_.limits.cpu_weight != 0)
      add("share of CPU time",
          or_trouble(std::to_string(plan_.limits.cpu_weight), state.cpu_trouble),
          "'cpu_weight'; 100 is everybody's", "no 'cpu_weight'");
    if (!plan_.temp_folder.empty())
      add("TMPDIR, TEMP, TMP", plan_.temp_folder,
          "'private_tmp': emptied before each start, removed at the end" +
              (plan_.temp_max_age.count() == 0
                   ? ""
                   : "; files unused for " + to_string(plan_.temp_max_age) + " are removed"),
          "variables of its own in 'env', or no 'private_tmp'");
  }

  static std::string octal(std::uint32_t value) {
    char text[16];
    std::snprintf(text, sizeof text, "%04o", value);
    return text;
  }

  void questions() {
    const Readiness& ready = plan_.ready;
    if (ready.kind == ReadyKind::http)
      add("asked", "GET " + ready.address + ready.path + " until it is ready", "'ready'",
          "another way in 'ready'");
    if (ready.kind == ReadyKind::tcp)
      add("asked", "a connection to " + ready.address + " until it is ready", "'ready'",
          "another way in 'ready'");
    if (plan_.live.kind == LiveKind::http)
      add("asked",
          "GET " + plan_.live.address + plan_.live.path + " every " + to_string(plan_.live.every),
          "'live': " + std::to_string(plan_.live.failures) + " failures in a row end it",
          "no 'live'");
    if (!plan_.pid_file.empty()) add("PID file", plan_.pid_file, "'pid_file'", "no 'pid_file'");
  }

  void end() {
    add("when it stops", "TERM to every process, KILL after " + to_string(plan_.grace),
        "what is stopped is gone, proven", "stop = { grace = ... }");
    std::string patterns;
    for (const auto& pattern : plan_.release) patterns += (patterns.empty() ? "" : ", ") + pattern;
    if (!patterns.empty())
      add("not ended with it", patterns, "'release': what matches is handed over", "no 'release'");
    const char* policy = plan_.restart == RestartPolicy::never ? "it is not started again"
                         : plan_.restart == RestartPolicy::always
                             ? "it is started again"
                             : "after a failure it is started again";
    if (plan_.on_anchor_death == OnAnchorDeath::kill)
      add("when its anchor dies", "it is killed, and started again by 'restart'",
          "'on_anchor_death'", "on_anchor_death = \"keep\"");
    add("when main ends", "the rest of its processes ends; " + std::string(policy),
        "no second copy beside leftovers", "restart = ...");
  }

  const LaunchPlan& plan_;
  const AnchorState& state_;
  std::vector<Change> changes_;
};

}  // namespace

int explain(const std::string& service, bool as_json) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const auto record = control::read_record(control::anchor_folder(*home, service, 0));
  if (!record) {
    std::fprintf(
        stderr, "gpuward: %s: has never run here, so nothing was done to it\nrun: gpuward status\n",
        service.c_str());
    return kFailed;
  }
  auto changes = Explainer(record->plan, record->state).changes();
  // Sent by the warden, and so of no plan.
  const auto report = look(*home, {service}, true);
  if (report && !report->services.empty() && report->services.front().canary) {
    const auto& canary = *report->services.front().canary;
    changes.push_back({"asked", canary.question, "'canary': " + describe(canary), "no 'canary'"});
  }
  if (as_json) {
    json::array list;
    for (const auto& change : changes)
      list.push_back({{"what", change.what},
                      {"value", change.value},
                      {"why", change.why},
                      {"undo", change.undo},
                      {"may_change_results", change.results}});
    std::printf(
        "%s\n",
        printable(json::serialize(json::object{{"service", service}, {"changes", std::move(list)}}))
            .c_str());
    return kDone;
  }
  Table table({"WHAT", "VALUE", "WHY", "OTHERWISE BY", "RESULTS"});
  for (const auto& change : changes)
    table.row({change.what, shortened(printable(change.value), 60), change.why, change.undo,
               change.results == std::string_view("no") ? "unchanged" : change.results});
  std::fputs(table.text().c_str(), stdout);
  std::printf("%s\n", paint(Tone::faint, "next: gpuward status " + service).c_str());
  return kDone;
}

}  // namespace gpuward::cli
