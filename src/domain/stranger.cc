#include "domain/stranger.h"

#include <algorithm>
#include <array>

#include "base/cgroup_lines.h"

namespace gpuward {
namespace {

constexpr std::array<std::string_view, 9> kEngines = {
    "docker", "libpod", "podman", "containerd", "crio", "kubepods", "buildkit", "lxc", "nspawn"};

// "4:memory:/a/b" is the path "/a/b" of the hierarchy "4:memory:".
std::string_view path_in(std::string_view text, std::string_view hierarchy) {
  std::string_view found;
  for_each_cgroup_line(text, [&](std::string_view line, std::string_view, std::string_view path) {
    const auto head = line.substr(0, line.size() - path.size());
    if (found.empty() && head == hierarchy) found = path;
  });
  return found;
}

// What of @p path is not also ours, folder by folder.
std::string_view below_common(std::string_view path, std::string_view ours) {
  std::size_t common = 0;
  for (std::size_t at = 0; at <= path.size() && at <= ours.size(); ++at) {
    const bool ends =
        (at == path.size() || path[at] == '/') && (at == ours.size() || ours[at] == '/');
    if (ends) common = at;
    if (at == path.size() || at == ours.size() || path[at] != ours[at]) break;
  }
  return path.substr(common);
}

}  // namespace

StrangerRole role_of(std::string_view name) {
  if (name == "systemd" || name == "init") return StrangerRole::manager;
  // OpenSSH splits itself: sshd, sshd-session, sshd-auth.
  if (name == "sshd" || name.starts_with("sshd-") || name == "dropbear") return StrangerRole::door;
  return StrangerRole::any;
}

std::string container_in(std::string_view theirs, std::string_view ours) {
  std::string found;
  for_each_cgroup_line(theirs, [&](std::string_view line, std::string_view, std::string_view path) {
    const auto hierarchy = line.substr(0, line.size() - path.size());
    const auto rest = below_common(path, path_in(ours, hierarchy));
    for (const auto engine : kEngines)
      if (found.empty() && rest.find(engine) != rest.npos) found = engine;
  });
  return found;
}

std::string unit_in(std::string_view theirs, std::string_view ours) {
  std::string unit;
  for_each_cgroup_line(theirs, [&](std::string_view, std::string_view, std::string_view path) {
    for (std::size_t at = 0; at < path.size();) {
      const auto end = std::min(path.find('/', at), path.size());
      const auto folder = path.substr(at, end - at);
      if (folder.ends_with(".service") && !folder.starts_with("user@")) unit = folder;
      at = end + 1;
    }
  });
  return ours.find("/" + unit) == ours.npos ? unit : std::string();
}

std::string why_not_ended(const StrangerFacts& facts) {
  const std::string it = "pid " + std::to_string(facts.pid.number) + " (" + facts.command + ") ";
  if (facts.pid.number == 1) return it + "is the first process of this system";
  if (facts.kernel_thread) return it + "is a part of the kernel";
  if (facts.role == StrangerRole::manager)
    return it + "is a service manager: stop the unit that listens there";
  if (facts.role == StrangerRole::door)
    return it + "is what people come into this system through: end it by hand, if you must";
  if (facts.our_ancestor) return it + "is what this command was started from";
  if (!facts.owner.empty()) return it + "belongs to " + facts.owner;
  if (!facts.container.empty())
    return it + "runs in a container (" + facts.container + "): end it through its engine";
  if (!facts.may_signal) return it + "may not be signalled by you: it is another user's";
  if (!facts.seen) return it + "cannot be looked into by you";
  if (!facts.same_pid_namespace)
    return it + "runs in another PID namespace, perhaps a container: end it from there";
  return {};
}

}  // namespace gpuward
