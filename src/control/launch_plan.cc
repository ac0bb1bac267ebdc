#include "control/launch_plan.h"

#include <unistd.h>

#include <algorithm>
#include <climits>

#include "control/container_plan.h"
#include "control/messages.h"
#include "control/users.h"
#include "domain/change.h"
#include "os/listeners.h"
#include "os/proc_fs.h"
#include "os/socket.h"

namespace gpuward::control {
namespace {

// Beside a state of at most 10 KiB, which takes about 1; what is left is for packed members.
constexpr std::size_t kLargestPlan = wire::kMaxSmall - (std::size_t{10} << 10);

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

std::string variable(const std::vector<EnvVar>& env, std::string_view name) {
  auto at = std::ranges::find(env, name, &EnvVar::name);
  return at == env.end() ? std::string{} : at->value;
}

// What `source bin/activate` or `conda activate` would set, without running either; what the
// service's own @p env says beside PATH stays.
void apply_venv(const std::string& venv, const std::vector<EnvVar>& own, std::vector<EnvVar>& env) {
  const auto says = [&](std::string_view name) {
    return std::ranges::find(own, name, &EnvVar::name) != own.end();
  };
  const std::string path = variable(env, "PATH");
  set_variable(env, {"PATH", venv + "/bin" + (path.empty() ? "" : ":" + path)});
  const bool conda = ::access((venv + "/conda-meta").c_str(), F_OK) == 0;
  const char* root = conda ? "CONDA_PREFIX" : "VIRTUAL_ENV";
  if (!says(root)) set_variable(env, {root, venv});
  if (!says("PYTHONHOME"))
    std::erase_if(env, [](const EnvVar& v) { return v.name == "PYTHONHOME"; });
}

// By the variables that programs and libraries look at; what the service's own @p env says stays.
void use_temp_folder(const Home& home, const std::vector<EnvVar>& own, LaunchPlan& plan) {
  plan.temp_folder = home.temp() + "/" + plan.service + "." + std::to_string(plan.replica);
  for (const char* name : {"TMPDIR", "TEMP", "TMP"})
    if (std::ranges::find(own, name, &EnvVar::name) == own.end())
      set_variable(plan.env, {name, plan.temp_folder});
}

std::string absolute(const std::string& path, const std::string& base) {
  return path.empty() || path.front() == '/' ? path : base + "/" + path;
}

Result<void> check_port_free(const os::TcpAddress& address) {
  auto taken = os::port_taken(address);
  // Without the right to try (a port below 1024) the service itself will tell.
  if (!taken || !*taken) return {};
  Error error = error_from(EADDRINUSE, "start: port ");
  error.doing.append_number(address.port()).append(" is taken by ");
  const auto holder = os::find_port_holder(address.port());
  if (!holder) {
    error.doing.append("a process that cannot be seen from here");
    return fail(error);
  }
  error.doing.append("pid ").append_number(holder->number);
  if (auto command = os::read_command(*holder, 100))
    error.doing.append(" (").append(*command).append(")");
  return fail(error);
}

Result<void> check_address(const std::string& text) {
  auto address = os::parse_tcp_address(text);
  if (!address) return fail(Errc::invalid, "use '" + text + "' as the address of a probe");
  return check_port_free(*address);
}

bool has_address(ReadyKind kind) {
  return kind == ReadyKind::tcp || kind == ReadyKind::http;
}

// What systemd told the warden is not for its services: they would answer in its name.
bool is_of_our_own_manager(std::string_view name) {
  return name == "NOTIFY_SOCKET" || name == "WATCHDOG_USEC" || name == "WATCHDOG_PID" ||
         name == "LISTEN_FDS" || name == "LISTEN_PID" || name == "LISTEN_FDNAMES";
}

Result<std::string> current_folder() {
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here) == nullptr) return fail(last_error("find the current folder"));
  return std::string(here);
}

// The plan must fit its record, beside what is found out about the tree.
Result<void> check_size(const LaunchPlan& plan) {
  std::vector<std::byte> room(kLargestPlan);
  if (wire::encode(LaunchOrder{plan, {}, {}}, room)) return {};
  const auto bytes = [](const EnvVar& v) { return v.name.size() + v.value.size(); };
  std::size_t total = 0;
  for (const auto& variable : plan.env) total += bytes(variable);
  Error error(Errc::refused, "start '");
  error.doing.append(plan.service).append("': its command and environment take more than ");
  error.doing.append_number(kLargestPlan >> 10).append(" KiB");
  const auto largest = std::ranges::max_element(plan.env, {}, bytes);
  if (largest != plan.env.end())
    error.doing.append("; the environment has ")
        .append_number(static_cast<long long>(total))
        .append(" bytes, most of them in ")
        .append(largest->name.substr(0, 40));
  return fail(error);
}

}  // namespace

std::vector<EnvVar> own_environment() {
  std::vector<EnvVar> env;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view text(*at);
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    env.push_back({std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))});
  }
  return env;
}

Result<LaunchPlan> make_plan(const ServiceModel& service, std::uint32_t replica, const Home& home,
                             const LaunchContext& context) {
  LaunchPlan plan;
  plan.service = service.name;
  plan.replica = replica;
  plan.command = service.command;
  plan.directory = service.directory.empty() ? context.directory
                                             : absolute(service.directory, context.directory);
  if (plan.directory.empty()) {
    auto here = current_folder();
    if (!here) return fail(std::move(here).error());
    plan.directory = *here;
  }
  plan.ready = service.ready;
  plan.live = service.live;
  if (has_address(plan.ready.kind) && plan.ready.address.empty())
    plan.ready.address = "127.0.0.1:{port}";
  if (plan.live.kind == LiveKind::http && plan.live.address.empty())
    plan.live.address = "127.0.0.1:{port}";
  plan.grace = service.grace;
  plan.restart = service.restart;
  plan.backoff = service.backoff;
  plan.containment = service.containment;
  plan.on_anchor_death = service.on_anchor_death;
  plan.pid_file = absolute(service.pid_file, plan.directory);
  plan.log = service.log;
  plan.mark = process_mark(service);
  plan.after = service.after;
  plan.needs = service.needs;
  plan.release = service.release;
  plan.sockets = service.sockets;
  plan.files = service.files;
  plan.log_file =
      home.log + "/" + service.name + (replica == 0 ? "" : "." + std::to_string(replica)) + ".log";

  auto group = cgroup_name(home, service.name, replica);
  if (!group) return fail(std::move(group).error());
  plan.cgroup_name = std::move(*group);

  std::vector<EnvVar> own = service.env;
  if (wants_port(service)) {
    auto port = os::free_loopback_port();
    if (!port) return fail(std::move(port).error());
    plan.port = *port;
    const std::string digits = std::to_string(*port);
    for (auto& word : plan.command) replace_all(word, "{port}", digits);
    for (auto& variable : own) replace_all(variable.value, "{port}", digits);
    replace_all(plan.ready.address, "{port}", digits);
    replace_all(plan.live.address, "{port}", digits);
    if (std::ranges::find(own, "PORT", &EnvVar::name) == own.end()) own.push_back({"PORT", digits});
  }
  plan.env = context.environment;
  std::erase_if(plan.env, [](const EnvVar& v) { return is_of_our_own_manager(v.name); });
  for (auto& variable : own) set_variable(plan.env, {variable.name, std::move(variable.value)});
  if (!service.venv.empty())
    apply_venv(absolute(service.venv, plan.directory), service.env, plan.env);
  plan.limits = service.limits;
  if (service.private_tmp) use_temp_folder(home, service.env, plan);
  plan.temp_max_age = live_settings(service).temp_max_age;
  auto rights = resolve_rights(service.rights, service.env, plan.env);
  if (!rights) return fail(std::move(rights).error());
  plan.rights = std::move(*rights);
  plan_container(plan, anchor_folder(home, service.name, replica).path);
  if (has_address(plan.ready.kind)) GPUWARD_TRY(check_address(plan.ready.address));
  if (plan.live.kind == LiveKind::http) GPUWARD_TRY(check_address(plan.live.address));
  for (const auto& socket : plan.sockets)
    if (!socket.address.starts_with("unix:")) GPUWARD_TRY(check_address(socket.address));
  GPUWARD_TRY(check_size(plan));
  return plan;
}

}  // namespace gpuward::control
