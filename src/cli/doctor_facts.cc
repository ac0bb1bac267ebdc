#include "cli/doctor_facts.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "cli/warden_client.h"
#include "control/observe.h"
#include "os/aside.h"
#include "os/cgroup.h"
#include "os/clock.h"
#include "os/controller.h"
#include "os/kernel.h"
#include "os/pid_namespace.h"

namespace gpuward::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostTempFiles = 100'000;

bool is_there(const std::string& path) {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

// "cgroup.kill" of @p group, which the group at the root of a hierarchy never has.
bool has_file(const os::Cgroup& group, const char* leaf) {
  return ::faccessat(group.dir_fd(), leaf, W_OK, 0) == 0;
}

}  // namespace

std::string doctor_root() {
  const char* root = std::getenv("GPUWARD_DOCTOR_ROOT");
  return root == nullptr ? "" : root;
}

KernelFacts look_at_kernel() {
  KernelFacts facts;
  utsname name{};
  if (::uname(&name) == 0) facts.release = name.release;
  const auto& kernel = os::kernel();
  facts.pidfd = kernel.pidfd;
  facts.clone_into_cgroup = kernel.clone_into_cgroup;
  facts.proc_children = kernel.proc_children;
  facts.exit_info = kernel.pidfd && os::try_exit_info();
  if (const auto made = os::PidNamespace::make(true)) {
    facts.pid_namespace = true;
    made->kill();
  }
  return facts;
}

CgroupFacts look_at_cgroups() {
  CgroupFacts facts;
  facts.why_no_memory = os::why_no_controller(os::Controller::memory);
  facts.why_no_cpu = os::why_no_controller(os::Controller::cpu);
  const auto place = os::find_cgroup_place();
  facts.why_none = place.reason;
  if (place.kind == os::CgroupKind::none) return facts;
  auto trial =
      os::Cgroup::create(place.kind, place.parent, "gpuward.doctor-" + std::to_string(::getpid()));
  if (!trial) {
    facts.why_none = trial.error().message();
    return facts;
  }
  const bool v2 = place.kind == os::CgroupKind::v2;
  facts.level = Containment::cgroup;
  facts.place = (v2 ? "cgroup2 at " : "the v1 freezer at ") + place.parent;
  facts.kill = v2 && os::kernel().cgroup_kill && has_file(*trial, "cgroup.kill");
  facts.freeze =
      os::kernel().cgroup_freeze && has_file(*trial, v2 ? "cgroup.freeze" : "freezer.state");
  (void)trial->remove();
  return facts;
}

namespace {

// In the child: one line, "FREE SIZE FILES FILES_FREE IN_MEMORY" or "- WHY".
std::string space_line(const std::string& path) {
  const auto space = os::space_of(path);
  if (!space) return "- " + space.error().message();
  std::ostringstream line;
  line << space->free.count << ' ' << space->size.count << ' ' << space->files << ' '
       << space->files_free << ' ' << space->in_memory;
  return line.str();
}

FolderFacts look_at_folder(std::string name, const std::string& path, Instant deadline) {
  FolderFacts facts;
  facts.name = std::move(name);
  facts.path = path;
  const auto answer = os::run_aside([&] { return space_line(path); }, deadline);
  if (!answer) {
    facts.why_unseen = "its file system does not answer";
  } else if (answer->starts_with("- ")) {
    facts.why_unseen = answer->substr(2);
  } else {
    std::istringstream line(*answer);
    line >> facts.free.count >> facts.size.count >> facts.files >> facts.files_free >>
        facts.in_memory;
  }
  return facts;
}

}  // namespace

std::vector<FolderFacts> look_at_folders(const control::Home& home, Instant deadline) {
  std::vector<FolderFacts> folders;
  const std::pair<const char*, std::string> all[] = {
      {"state", home.state}, {"log", home.log}, {"run", home.run}, {"temp", home.temp()}};
  for (const auto& [name, path] : all) folders.push_back(look_at_folder(name, path, deadline));
  return folders;
}

std::optional<std::vector<SwapArea>> look_at_swap(const std::string& root) {
  const auto text = os::read_file(root + "/proc/swaps");
  return text ? std::optional(parse_swaps(*text)) : std::nullopt;
}

namespace {

struct TempLook {
  std::uintmax_t bytes = 0;
  std::uint64_t files = 0;
  fs::file_time_type oldest = fs::file_time_type::max();
  bool whole = true;
};

// Never follows a link. @p left: how many entries may still be looked at.
TempLook look_into(const fs::path& folder, std::size_t& left) {
  TempLook look;
  std::error_code trouble;
  fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied,
                                      trouble);
  for (; !trouble && at != fs::recursive_directory_iterator() && left > 0; at.increment(trouble)) {
    --left;
    std::error_code gone;
    if (at->is_symlink(gone) || !at->is_regular_file(gone)) continue;
    const auto size = at->file_size(gone);
    const auto written = at->last_write_time(gone);
    if (gone) continue;
    ++look.files;
    look.bytes += size;
    look.oldest = std::min(look.oldest, written);
  }
  look.whole = !trouble && left > 0;
  return look;
}

// In the child: one line a folder, "NAME BYTES FILES OLDEST WHOLE".
std::string temp_lines(const std::string& folder) {
  std::ostringstream lines;
  std::size_t left = kMostTempFiles;
  std::error_code trouble;
  const auto now = fs::file_time_type::clock::now();
  fs::directory_iterator at(folder, trouble);
  for (; !trouble && at != fs::directory_iterator(); at.increment(trouble)) {
    const std::string name = at->path().filename().string();
    if (name.find_first_of(" \t\n") != std::string::npos) continue;  // no service's
    const TempLook look = look_into(at->path(), left);
    const auto oldest = look.files == 0 ? now : std::min(now, look.oldest);
    lines << name << ' ' << look.bytes << ' ' << look.files << ' '
          << (now - oldest) / std::chrono::seconds(1) << ' ' << look.whole << '\n';
  }
  if (trouble && trouble != std::errc::no_such_file_or_directory)
    return "- " + folder + ": " + trouble.message();
  return lines.str();
}

}  // namespace

std::vector<TempFolderFacts> look_at_temp_folders(const control::Home& home, Instant deadline,
                                                  std::string* why_unseen) {
  std::vector<TempFolderFacts> folders;
  const auto answer = os::run_aside([&] { return temp_lines(home.temp()); }, deadline);
  if (!answer) *why_unseen = home.temp() + " does not answer";
  if (answer && answer->starts_with("- ")) *why_unseen = answer->substr(2);
  if (!why_unseen->empty()) return folders;
  std::istringstream lines(*answer);
  TempFolderFacts facts;
  std::int64_t age = 0;
  while (lines >> facts.name >> facts.size.count >> facts.files >> age >> facts.whole) {
    facts.oldest = std::chrono::seconds(std::max<std::int64_t>(0, age));
    folders.push_back(facts);
  }
  return folders;
}

CoreFacts look_at_cores(const std::string& root, Pid starter) {
  CoreFacts facts;
  if (auto pattern = os::read_file(root + "/proc/sys/kernel/core_pattern")) {
    while (!pattern->empty() && pattern->back() == '\n') pattern->pop_back();
    facts.pattern = std::move(*pattern);
  }
  rlimit limit{};
  if (::prlimit(starter.number, RLIMIT_CORE, nullptr, &limit) < 0) ::getrlimit(RLIMIT_CORE, &limit);
  const auto value = [](rlim_t n) { return n == RLIM_INFINITY ? kUnlimited : n; };
  facts.soft = value(limit.rlim_cur);
  facts.limit = value(limit.rlim_max);
  return facts;
}

std::string look_at_kernel_log(const std::string& root) {
  const auto log = os::Fd::open(root + "/dev/kmsg", O_RDONLY | O_NONBLOCK);
  return log ? "" : log.error().message();
}

std::optional<bool> clock_is_synchronised() {
  timex question{};
  const int state = ::adjtimex(&question);
  if (state < 0) return std::nullopt;
  return (question.status & STA_UNSYNC) == 0 && state != TIME_ERROR;
}

UnitFacts look_at_unit(const std::string& root, const control::Home& home) {
  UnitFacts facts;
  facts.systemd = is_there(root + "/run/systemd/system");
  std::error_code trouble;
  fs::directory_iterator at(home.etc, trouble);
  for (; !trouble && at != fs::directory_iterator(); at.increment(trouble))
    facts.configured = facts.configured || at->path().extension() == ".toml";
  for (const char* folder : {"/etc/systemd/system", "/usr/local/lib/systemd/system",
                             "/usr/lib/systemd/system", "/lib/systemd/system"}) {
    const std::string path = root + folder + "/gpuward.service";
    auto text = os::read_file(path);
    if (!text) continue;
    facts.path = path.substr(root.size());
    facts.text = std::move(*text);
    const std::string program = unit_program(facts.text);
    facts.program_there = program.empty() || ::access((root + program).c_str(), X_OK) == 0;
    break;
  }
  return facts;
}

namespace {

bool is_unsafe(const std::string& folder) {
  struct stat info{};
  if (::stat(folder.c_str(), &info) < 0) return false;  // made when it is needed
  return info.st_uid != ::geteuid() || (info.st_mode & 022) != 0;
}

void look_at_anchors(const control::Home& home, Instant deadline, WardenFacts& facts) {
  const auto folders = control::list_anchors(home);
  if (!folders) return;
  for (const auto& folder : *folders) {
    if (os::now() >= deadline) return;
    const auto view = control::view_anchor(folder, deadline);
    if (!view) continue;
    if (view->alive) {
      ++facts.anchors;
      facts.anchors_silent += view->silent ? 1 : 0;
    } else if (control::tree_lives(folder, view->state)) {
      ++facts.unowned;
    }
  }
}

}  // namespace

WardenFacts look_at_warden(const control::Home& home, Instant deadline, Pid* warden_pid) {
  WardenFacts facts;
  facts.own_version = GPUWARD_VERSION;
  for (const auto& folder : {home.run, home.anchors(), home.state})
    if (is_unsafe(folder))
      facts.home_trouble += (facts.home_trouble.empty() ? "" : ", ") + folder +
                            " belongs to another user, or others may write there";
  if (auto channel = connect_warden(home)) {
    WardenRequest request;
    request.brief = true;
    const auto answer =
        ask_warden(*channel, request, std::min(deadline, os::now() + std::chrono::seconds(2)));
    facts.answer = WardenFacts::Answer::silent;
    if (answer && answer->status && answer->status->warden) {
      facts.answer = WardenFacts::Answer::answers;
      facts.version = answer->status->warden->version;
      facts.ledger_trouble = answer->status->warden->ledger_trouble;
      *warden_pid = answer->status->warden->pid;
    }
  }
  look_at_anchors(home, deadline, facts);
  return facts;
}

}  // namespace gpuward::cli
