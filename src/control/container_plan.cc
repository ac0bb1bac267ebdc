#include "control/container_plan.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "os/fd.h"

namespace gpuward::control {
namespace {

using Environment = std::vector<EnvVar>;

std::string variable(const Environment& env, std::string_view name) {
  const auto at = std::ranges::find(env, name, &EnvVar::name);
  return at == env.end() ? std::string{} : at->value;
}

// "unix:///run/docker.sock" -> "/run/docker.sock"; empty for another kind of address.
std::string socket_of(std::string_view host) {
  constexpr std::string_view kUnix = "unix://";
  if (!host.starts_with(kUnix)) return {};
  const auto path = host.substr(kUnix.size());
  return path.starts_with('/') ? std::string(path) : std::string{};
}

// Has `docker context use` chosen another engine? Its file is JSON; one value of it is read.
bool config_names_a_context(const Environment& env) {
  std::string folder = variable(env, "DOCKER_CONFIG");
  if (folder.empty()) folder = variable(env, "HOME") + "/.docker";
  const auto text = os::read_file(folder + "/config.json");
  if (!text) return false;
  const auto key = text->find("\"currentContext\"");
  if (key == std::string::npos) return false;
  const auto open = text->find('"', text->find(':', key));
  if (open == std::string::npos) return true;
  const auto value = text->substr(open + 1, text->find('"', open + 1) - open - 1);
  return !value.empty() && value != "default";
}

// A program from a snap may write into the user's home folder only.
bool comes_from_a_snap(const LaunchPlan& plan, const std::string& engine) {
  std::string list = variable(plan.env, "PATH");
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    const std::string path = list.substr(at, end - at) + "/" + engine;
    if (::access(path.c_str(), X_OK) == 0) return path.starts_with("/snap/");
    at = end + 1;
  }
  return false;
}

void add(std::vector<std::string>& list, std::string path) {
  if (std::ranges::find(list, path) == list.end()) list.push_back(std::move(path));
}

void plan_docker(ContainerPlan& plan, const ContainerCommand& command, const Environment& env) {
  const std::string host = command.host.empty() ? variable(env, "DOCKER_HOST") : command.host;
  if (!host.empty()) {
    if (const auto socket = socket_of(host); !socket.empty()) plan.sockets = {socket};
    plan.engine_known = !plan.sockets.empty() && !command.elsewhere;
    return;
  }
  plan.sockets = engine_sockets(env);
  plan.engine_known =
      !command.elsewhere && variable(env, "DOCKER_CONTEXT").empty() && !config_names_a_context(env);
}

// Podman starts containers itself: what its service would say is needed to end them well, not to
// know where they are.
void plan_podman(ContainerPlan& plan, const ContainerCommand& command, const Environment& env) {
  plan.only_here = !command.elsewhere && command.host.empty() &&
                   variable(env, "CONTAINER_HOST").empty() &&
                   variable(env, "CONTAINER_CONNECTION").empty();
  // Its own first, the others after them in their order.
  plan.sockets.clear();
  std::vector<std::string> others;
  for (auto& path : engine_sockets(env))
    (path.find("/podman/") != std::string::npos ? plan.sockets : others).push_back(path);
  plan.sockets.insert(plan.sockets.end(), others.begin(), others.end());
}

// Why its container cannot be held by id, though the command is `run`.
std::string why_not(const LaunchPlan& plan, const ContainerCommand& command) {
  if (plan.rights.uid && *plan.rights.uid != ::geteuid())
    return "with 'user' the id of its container would be the service's own word";
  const bool by_path = plan.command.front().find('/') != std::string::npos;
  const bool snap = by_path ? plan.command.front().starts_with("/snap/")
                            : comes_from_a_snap(plan, command.engine);
  if (snap && !command.cidfile)
    return "'" + command.engine +
           "' is a snap, which writes into home folders only: give 'run' a --cidfile there";
  return {};
}

}  // namespace

std::vector<std::string> engine_sockets(const std::vector<EnvVar>& env) {
  std::vector<std::string> sockets;
  if (const auto named = socket_of(variable(env, "DOCKER_HOST")); !named.empty())
    sockets.push_back(named);
  else
    sockets.emplace_back("/var/run/docker.sock");
  add(sockets, "/run/podman/podman.sock");
  const std::string runtime = variable(env, "XDG_RUNTIME_DIR");
  if (runtime.starts_with('/')) {
    add(sockets, runtime + "/podman/podman.sock");
    add(sockets, runtime + "/docker.sock");
  }
  return sockets;
}

void plan_container(LaunchPlan& plan, const std::string& folder) {
  const auto command = read_container_command(plan.command);
  if (command.engine.empty()) return;
  ContainerPlan& container = plan.container;
  container.hold = ContainerHold::not_by_id;
  container.why = command.runs_one ? why_not(plan, command) : command.why;
  if (!container.why.empty()) return;
  container.hold = ContainerHold::by_id;
  if (command.engine == "docker") plan_docker(container, command, plan.env);
  if (command.engine == "podman") plan_podman(container, command, plan.env);
  if (command.cidfile) {
    const bool absolute = command.cidfile->starts_with('/');
    container.cidfile = absolute ? *command.cidfile : plan.directory + "/" + *command.cidfile;
    return;
  }
  container.cidfile = folder + "/cid";
  container.cidfile_is_ours = true;
  plan.command.insert(plan.command.begin() + static_cast<std::ptrdiff_t>(command.options),
                      "--cidfile=" + container.cidfile);
}

}  // namespace gpuward::control
