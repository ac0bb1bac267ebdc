#include "control/anchors.h"

#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>

#include "os/clock.h"
#include "os/controller.h"
#include "os/private_folder.h"
#include "os/proc_fs.h"
#include "os/socket.h"
#include "os/spawn.h"

namespace gpuward::control {
namespace {

constexpr auto kLaunchWithin = std::chrono::seconds(10);

std::optional<AnchorFolder> parse_folder(const Home& home, std::string_view name) {
  const auto dot = name.rfind('.');
  if (dot == std::string_view::npos || !is_known_name(name.substr(0, dot))) return std::nullopt;
  std::uint32_t replica = 0;
  const auto digits = name.substr(dot + 1);
  if (digits.size() > 1 && digits.front() == '0') return std::nullopt;
  auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), replica);
  if (code != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return AnchorFolder{std::string(name.substr(0, dot)), replica,
                      home.anchors() + "/" + std::string(name)};
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
  GPUWARD_TRY(os::for_each_entry(*dir, [&](std::string_view name, bool is_folder) {
    if (auto folder = is_folder ? parse_folder(home, name) : std::nullopt)
      folders.push_back(std::move(*folder));
    return true;
  }));
  std::ranges::sort(folders, {},
                    [](const AnchorFolder& f) { return std::pair(f.service, f.replica); });
  return folders;
}

Result<AnchorRecord> read_record(const AnchorFolder& folder) {
  auto dir = os::Fd::open(folder.path, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  auto record = read_record(*dir);
  const auto boot = os::boot_id();
  if (!record || !boot || *boot == record->boot_id) return record;
  AnchorState& state = record->state;
  if (!is_over(state.phase)) {
    state.phase = Phase::stopped;
    state.reason = "by a reboot";
  }
  state.anchor = state.main = ProcessId{};
  state.cgroup.clear();
  state.since_ns = os::now().time_since_epoch().count();  // its clock began anew
  record->members.clear();
  return record;
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
  const std::string path = folder.path + "/lock";
  auto lock = os::Fd::open_regular_at(os::Fd(), path.c_str(), O_RDONLY | O_NOFOLLOW);
  if (lock) return ::flock(lock->get(), LOCK_SH | LOCK_NB) < 0;
  const auto record = read_record(folder);  // somebody removed it: who wrote the record may live
  return record && os::lives(record->state.anchor);
}

Result<Channel> connect_anchor(const AnchorFolder& folder) {
  auto dir = os::Fd::open(folder.path, O_PATH | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  auto socket = os::connect_unix_at(*dir, "control");
  if (!socket) return fail(Errc::unreachable, "connect to the anchor of '" + folder.service + "'");
  return Channel(std::move(*socket));
}

Result<std::string> cgroup_name(const Home& home, const std::string& service,
                                std::uint32_t replica) {
  struct stat info{};
  if (::stat(home.run.c_str(), &info) < 0) return fail(last_error("stat", home.run));
  return "gpuward." + service + "." + std::to_string(replica) + "." + std::to_string(info.st_dev) +
         "-" + std::to_string(info.st_ino);
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

Result<Launched> launch_anchor(const LaunchPlan& plan, const Home& home, const MarkedTree& marked) {
  const auto folder = anchor_folder(home, plan.service, plan.replica);
  auto launched = start_anchor(folder, {folder.path});
  if (!launched) return launched;
  LaunchOrder order{plan, marked.anchor, marked.members};
  auto sent = launched->channel.send(order, os::now() + kLaunchWithin);
  if (!sent) return fail(std::move(sent).error());
  return launched;
}

Result<Launched> launch_adopter(const AnchorFolder& folder, const MarkedTree& marked) {
  if (!marked.anchor) return start_anchor(folder, {"--adopt", folder.path});
  auto launched = start_anchor(folder, {"--adopt", "--marked", folder.path});
  if (!launched) return launched;
  const LaunchOrder order{{}, marked.anchor, marked.members};
  GPUWARD_TRY(launched->channel.send(order, os::now() + kLaunchWithin));
  return launched;
}

Result<Launched> adopt_anchor(const AnchorFolder& folder) {
  auto launched = launch_adopter(folder);
  if (!launched) return launched;
  auto first = next_state(launched->channel, os::now() + kLaunchWithin);
  if (!first) return fail(std::move(first).error());
  if (is_refusal(*first)) return fail(Error(Errc::refused, first->reason));
  return launched;
}

void kill_recorded(const AnchorRecord& record) {
  const AnchorState& state = record.state;
  if (record.ever_restored) return;  // harm.md 1
  const auto kill = [](ProcessId id) {
    if (!id) return;
    if (const auto process = os::Process::open(id)) (void)process->signal(SIGKILL);
  };
  kill(state.init);
  // Where some are in it that were handed over, the anchor that adopts tells them apart.
  if (!state.cgroup.empty() && state.kept.empty()) {
    auto group = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                  std::string(state.cgroup.view()));
    if (group && !group->kill())
      (void)group->for_each_member([&](Pid pid) {
        const auto process = os::Process::open(pid);
        if (process && group->holds(pid)) (void)process->signal(SIGKILL);
      });
  }
  kill(state.main);
  for (const auto& member : unpack(record.members)) kill(member);
}

bool is_refusal(const AnchorState& state) {
  return state.phase == Phase::failed && state.generation == 0;
}

Result<AnchorState> next_state(Channel& channel, Instant deadline) {
  auto body = channel.receive(deadline);
  if (!body) return fail(std::move(body).error());
  auto news = wire::decode<StateNews>(*body);
  if (!news) return fail(std::move(news).error());
  return news->state;
}

namespace {

// Those that hold limits; the kernel refuses what is not empty.
void remove_limit_groups(const LimitState& limits) {
  const auto remove = [](os::Controller what, std::string_view path) {
    auto group = path.empty() ? Result<os::ControllerGroup>(os::ControllerGroup())
                              : os::ControllerGroup::open(what, std::string(path));
    if (group) (void)group->remove();
  };
  remove(os::Controller::memory, limits.memory_group);
  remove(os::Controller::cpu, limits.cpu_group);
}

// Made, perhaps, by an anchor that died before its record was written.
void remove_limit_groups_called(const std::string& name) {
  LimitState limits;
  if (const auto folder = os::find_v1_folder(os::Controller::memory))
    limits.memory_group = Text<512>(*folder + "/" + name);
  if (const auto folder = os::find_v1_folder(os::Controller::cpu))
    limits.cpu_group = Text<512>(*folder + "/" + name);
  remove_limit_groups(limits);
}

void remove_groups_called(const std::string& name) {
  remove_limit_groups_called(name);
  const auto place = os::find_cgroup_place();
  if (place.kind == os::CgroupKind::none) return;
  auto group = os::Cgroup::open(place.kind, place.parent + "/" + name);
  const auto populated = group ? group->populated() : Result<bool>(true);
  if (populated && !*populated) (void)group->remove();
}

}  // namespace

void remove_empty_group(const Home& home, const AnchorFolder& folder) {
  if (anchor_lives(folder)) return;
  const auto name = cgroup_name(home, folder.service, folder.replica);
  const auto record = read_record(folder);
  if (!record) {
    if (name) remove_groups_called(*name);
    return;
  }
  const AnchorState& state = record->state;
  remove_limit_groups(state.limits);
  if (name) remove_limit_groups_called(*name);
  if (!state.released_group.empty()) {
    auto handed_over = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                        std::string(state.released_group.view()));
    if (handed_over) (void)handed_over->remove();
  }
  if (state.cgroup.empty()) return;
  auto group = os::Cgroup::open(static_cast<os::CgroupKind>(state.cgroup_kind),
                                std::string(state.cgroup.view()));
  const bool gone = !group && group.error().code.value() == ENOENT;
  const auto populated = group ? group->populated() : Result<bool>(!gone);
  if (!populated || *populated) return;
  if (group) (void)group->remove();  // the kernel refuses what is not empty
  const std::string& temp = record->plan.temp_folder;
  const bool unused = !temp.empty() && !may_live_on(state, record->plan) &&
                      !os::is_kept(temp, record->boot_id.view());
  if (unused) (void)os::remove_private_folder(temp);
}

Result<void> remove_folder(const AnchorFolder& folder) {
  if (anchor_lives(folder))
    return fail(Errc::refused, "remove '" + folder.path + "': its anchor lives");
  auto dir = os::Fd::open(folder.path, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  // Through the folder that is opened: who removes it at the same time may be gone already, and
  // what stands at its path then is another anchor's. Made where it is missing: no anchor begins
  // here before it is ours, or we see that it has begun.
  auto lock = os::Fd::open_regular_at(*dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!lock) return fail(std::move(lock).error());
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) < 0)
    return fail(Errc::refused, "remove '" + folder.path + "': its anchor lives");
  for (const char* name :
       {"record", "record.new", "journal", "journal.old", "out", "err", "control", "cid", "lock"})
    ::unlinkat(dir->get(), name, 0);
  if (::rmdir(folder.path.c_str()) < 0) return fail(last_error("remove", folder.path));
  return {};
}

}  // namespace gpuward::control
