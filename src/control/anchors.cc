#include "control/anchors.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <climits>

#include "os/clock.h"
#include "os/listeners.h"
#include "os/proc_fs.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace gpuward::control {
namespace {

constexpr auto kLaunchWithin = std::chrono::seconds(10);

std::optional<AnchorFolder> parse_folder(const Home& home, std::string_view name) {
  const auto dot = name.rfind('.');
  if (dot == std::string_view::npos || !is_service_name(name.substr(0, dot))) return std::nullopt;
  std::uint32_t replica = 0;
  const auto digits = name.substr(dot + 1);
  auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), replica);
  if (code != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return AnchorFolder{std::string(name.substr(0, dot)), replica,
                      home.anchors() + "/" + std::string(name)};
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

void set_variable(std::vector<EnvVar>& env, std::string_view name, std::string value) {
  auto at = std::ranges::find(env, name, &EnvVar::name);
  if (at == env.end())
    env.push_back({std::string(name), std::move(value)});
  else
    at->value = std::move(value);
}

std::string variable(const std::vector<EnvVar>& env, std::string_view name) {
  auto at = std::ranges::find(env, name, &EnvVar::name);
  return at == env.end() ? std::string{} : at->value;
}

// What `source bin/activate` or `conda activate` would set, without running either.
void apply_venv(const std::string& venv, std::vector<EnvVar>& env) {
  const std::string path = variable(env, "PATH");
  set_variable(env, "PATH", venv + "/bin" + (path.empty() ? "" : ":" + path));
  const bool conda = ::access((venv + "/conda-meta").c_str(), F_OK) == 0;
  set_variable(env, conda ? "CONDA_PREFIX" : "VIRTUAL_ENV", venv);
  std::erase_if(env, [](const EnvVar& v) { return v.name == "PYTHONHOME"; });
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

Result<std::string> current_folder() {
  char here[PATH_MAX];
  if (::getcwd(here, sizeof here) == nullptr) return fail(last_error("find the current folder"));
  return std::string(here);
}

}  // namespace

AnchorFolder anchor_folder(const Home& home, const std::string& service, std::uint32_t replica) {
  return {service, replica, home.anchors() + "/" + service + "." + std::to_string(replica)};
}

Result<std::vector<AnchorFolder>> list_anchors(const Home& home) {
  std::vector<AnchorFolder> folders;
  auto dir = os::Fd::open(home.anchors(), O_RDONLY | O_DIRECTORY);
  if (!dir) {
    if (dir.error().code.value() == ENOENT) return folders;
    return fail(std::move(dir).error());
  }
  GPUWARD_TRY(os::for_each_entry(*dir, [&](std::string_view name, bool) {
    if (auto folder = parse_folder(home, name)) folders.push_back(std::move(*folder));
    return true;
  }));
  std::ranges::sort(folders, {},
                    [](const AnchorFolder& f) { return std::pair(f.service, f.replica); });
  return folders;
}

Result<AnchorRecord> read_record(const AnchorFolder& folder) {
  auto dir = os::Fd::open(folder.path, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  return read_record(*dir);
}

Result<AnchorRecord> read_record(const os::Fd& dir) {
  auto text = os::read_regular_at(dir, "record", wire::kMaxSmall + 64);
  if (!text) return fail(std::move(text).error());
  const auto bytes = std::as_bytes(std::span(*text));
  if (bytes.size() < wire::kFrameHeader) return fail(Errc::bad_message, "read the record");
  auto body = wire::open_body(bytes.subspan(wire::kFrameHeader));
  if (!body) return fail(std::move(body).error());
  return wire::decode<AnchorRecord>(*body);
}

bool anchor_lives(const AnchorFolder& folder) {
  auto lock = os::Fd::open(folder.path + "/lock", O_RDONLY);
  return lock && ::flock(lock->get(), LOCK_SH | LOCK_NB) < 0;
}

std::vector<JournalEntry> read_journal(const AnchorFolder& folder) {
  std::vector<JournalEntry> entries;
  auto dir = os::Fd::open(folder.path, O_RDONLY | O_DIRECTORY);
  if (!dir) return entries;
  for (const char* name : {"journal.old", "journal"}) {
    auto text = os::read_regular_at(*dir, name, 4 << 20);
    if (!text) continue;
    auto bytes = std::as_bytes(std::span(*text));
    while (bytes.size() >= wire::kFrameHeader) {
      const auto length = wire::frame_length(bytes.first<wire::kFrameHeader>());
      bytes = bytes.subspan(wire::kFrameHeader);
      if (length > bytes.size()) break;
      auto body = wire::open_body(bytes.first(length));
      if (!body) break;
      if (auto entry = wire::decode<JournalEntry>(*body)) entries.push_back(*entry);
      bytes = bytes.subspan(length);
    }
  }
  return entries;
}

Result<Channel> connect_anchor(const AnchorFolder& folder) {
  auto dir = os::Fd::open(folder.path, O_PATH | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  auto socket = os::connect_unix_at(*dir, "control");
  if (!socket) return fail(Errc::unreachable, "connect to the anchor of '" + folder.service + "'");
  return Channel(std::move(*socket));
}

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

Result<std::string> cgroup_name(const Home& home, const std::string& service,
                                std::uint32_t replica) {
  struct stat info{};
  if (::stat(home.run.c_str(), &info) < 0) return fail(last_error("stat", home.run));
  return "gpuward." + service + "." + std::to_string(replica) + "." + std::to_string(info.st_dev) +
         "-" + std::to_string(info.st_ino);
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
  plan.env = context.environment;
  if (!service.venv.empty()) apply_venv(absolute(service.venv, plan.directory), plan.env);
  for (const auto& own : service.env) set_variable(plan.env, own.name, own.value);
  plan.ready = service.ready;
  if (plan.ready.kind != ReadyKind::started && plan.ready.address.empty())
    plan.ready.address = "127.0.0.1:{port}";
  plan.grace = service.grace;
  plan.restart = service.restart;
  plan.backoff = service.backoff;
  plan.pid_file = absolute(service.pid_file, plan.directory);
  plan.log_file =
      home.log + "/" + service.name + (replica == 0 ? "" : "." + std::to_string(replica)) + ".log";
  plan.by_warden = context.by_warden;
  plan.uid = ::geteuid();

  auto group = cgroup_name(home, service.name, replica);
  if (!group) return fail(std::move(group).error());
  plan.cgroup_name = std::move(*group);

  if (wants_port(service)) {
    auto port = os::free_loopback_port();
    if (!port) return fail(std::move(port).error());
    plan.port = *port;
    const std::string digits = std::to_string(*port);
    for (auto& word : plan.command) replace_all(word, "{port}", digits);
    for (const auto& own : service.env) {
      std::string value = own.value;
      replace_all(value, "{port}", digits);
      set_variable(plan.env, own.name, std::move(value));
    }
    replace_all(plan.ready.address, "{port}", digits);
    if (std::ranges::find(service.env, "PORT", &EnvVar::name) == service.env.end())
      set_variable(plan.env, "PORT", digits);
  }
  if (plan.ready.kind != ReadyKind::started) {
    auto address = os::parse_tcp_address(plan.ready.address);
    if (!address)
      return fail(Errc::invalid, "use '" + plan.ready.address + "' as a readiness address");
    GPUWARD_TRY(check_port_free(*address));
  }
  return plan;
}

namespace {

Result<Launched> start_anchor(const AnchorFolder& folder, std::vector<std::string> args) {
  auto program = os::sibling_program("gpuward-anchor");
  if (!program) return fail(std::move(program).error());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail(last_error("make a socket pair"));
  os::Fd ours = os::Fd::take(ends[0]);
  const os::Fd theirs = os::Fd::take(ends[1]);
  os::ProgramPlan start;
  start.path = *program;
  start.args = std::move(args);
  start.handed = &theirs;
  auto process = os::start_program(start);
  if (!process) return fail(std::move(process).error());
  return Launched{std::move(*process), Channel(std::move(ours)), folder};
}

}  // namespace

Result<Launched> launch_anchor(const LaunchPlan& plan, const Home& home) {
  const auto folder = anchor_folder(home, plan.service, plan.replica);
  GPUWARD_TRY(os::make_directories(folder.path, 0700));
  auto launched = start_anchor(folder, {folder.path});
  if (!launched) return launched;
  GPUWARD_TRY(launched->channel.send(LaunchOrder{plan}, os::now() + kLaunchWithin));
  return launched;
}

Result<Launched> adopt_anchor(const AnchorFolder& folder) {
  auto launched = start_anchor(folder, {"--adopt", folder.path});
  if (!launched) return launched;
  auto first = next_state(launched->channel, os::now() + kLaunchWithin);
  if (!first) return fail(std::move(first).error());
  if (first->phase == Phase::failed && first->generation == 0)
    return fail(Error(Errc::refused, first->reason));
  return launched;
}

Result<AnchorState> next_state(Channel& channel, Instant deadline) {
  auto body = channel.receive(deadline);
  if (!body) return fail(std::move(body).error());
  auto news = wire::decode<StateNews>(*body);
  if (!news) return fail(std::move(news).error());
  return news->state;
}

Result<void> remove_folder(const AnchorFolder& folder) {
  auto lock = os::Fd::open(folder.path + "/lock", O_RDWR);
  if (lock && ::flock(lock->get(), LOCK_EX | LOCK_NB) < 0)
    return fail(Errc::refused, "remove '" + folder.path + "': its anchor lives");
  auto dir = os::Fd::open(folder.path, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  for (const char* name :
       {"record", "record.new", "journal", "journal.old", "out", "err", "control", "lock"})
    ::unlinkat(dir->get(), name, 0);
  if (::rmdir(folder.path.c_str()) < 0) return fail(last_error("remove", folder.path));
  return {};
}

}  // namespace gpuward::control
