#include "control/home.h"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "os/fd.h"

namespace gpuward::control {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string{} : std::string(value);
}

}  // namespace

Result<Home> find_home() {
  std::string base = variable("GPUWARD_HOME");
  if (!base.empty()) {
    if (base.front() != '/') {
      char here[PATH_MAX];
      if (::getcwd(here, sizeof here) == nullptr)
        return fail(last_error("find the current folder"));
      base = std::string(here) + "/" + base;
    }
    while (base.size() > 1 && base.back() == '/') base.pop_back();
    return Home{base + "/etc", base + "/state", base + "/run", base + "/log"};
  }
  if (::geteuid() == 0)
    return Home{"/etc/gpuward", "/var/lib/gpuward", "/run/gpuward", "/var/log/gpuward"};
  const std::string user = variable("HOME");
  auto folder = [&](const char* name, const char* fallback) {
    const std::string set = variable(name);
    return (set.empty() ? user + fallback : set) + "/gpuward";
  };
  if (user.empty() && (variable("XDG_CONFIG_HOME").empty() || variable("XDG_STATE_HOME").empty()))
    return fail(Errc::invalid,
                "find a place for gpuward's files: neither HOME nor GPUWARD_HOME is set");
  Home home;
  home.etc = folder("XDG_CONFIG_HOME", "/.config");
  home.state = folder("XDG_STATE_HOME", "/.local/state");
  home.log = home.state + "/log";
  const std::string runtime = variable("XDG_RUNTIME_DIR");
  home.run = runtime.empty() ? home.state + "/run" : runtime + "/gpuward";
  return home;
}

Result<void> prepare_home(const Home& home) {
  for (const auto& folder : {home.run, home.state, home.log, home.anchors()})
    GPUWARD_TRY(os::make_directories(folder, 0700));
  for (const auto& folder : {home.run, home.anchors(), home.state}) {
    struct stat info{};
    if (::stat(folder.c_str(), &info) < 0) return fail(last_error("stat", folder));
    if (info.st_uid == ::geteuid() && (info.st_mode & 022) == 0) continue;
    Error error(Errc::refused, "use '");
    error.doing.append(folder).append(
        "': it must belong to this user and be writable by nobody else");
    return fail(error);
  }
  return {};
}

}  // namespace gpuward::control
