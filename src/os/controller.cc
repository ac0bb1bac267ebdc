#include "os/controller.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "os/kernel.h"
#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

// The next piece of @p text up to @p end, which is taken off with it.
std::string_view take_until(std::string_view& text, char end) {
  const auto piece = text.substr(0, text.find(end));
  text.remove_prefix(std::min(piece.size() + 1, text.size()));
  return piece;
}

bool lists(std::string_view text, std::string_view word, char between) {
  while (!text.empty())
    if (take_until(text, between) == word) return true;
  return false;
}

struct Mount {
  std::string folder;
  std::string root;  // what of the hierarchy is mounted there
  bool read_only = false;
};

// The first mount of type @p wanted whose file system has @p option, if there is one to look for.
// Fields 4 to 6 of a line of /proc/self/mountinfo are root, mount point and options; behind " - "
// come type, source and the options of the file system (proc_pid_mountinfo(5)).
std::optional<Mount> find_mount(std::string_view wanted, std::string_view option) {
  const auto text = read_file("/proc/self/mountinfo");
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto line = take_until(rest, '\n');
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    auto tail = line.substr(dash + 3);
    const auto type = take_until(tail, ' ');
    take_until(tail, ' ');
    if (type != wanted || (!option.empty() && !lists(tail, option, ','))) continue;
    for (int skip = 0; skip < 3; ++skip) take_until(line, ' ');
    Mount mount;
    mount.root = take_until(line, ' ');
    mount.folder = take_until(line, ' ');
    mount.read_only = lists(take_until(line, ' '), "ro", ',') || lists(tail, "ro", ',');
    return mount;
  }
  return std::nullopt;
}

std::optional<Mount> find_v2_mount() {
  if (!kernel().cgroup || !kernel().cgroup2) return std::nullopt;
  return find_mount("cgroup2", {});
}

std::optional<Mount> find_v1_mount(Controller what) {
  if (!kernel().cgroup || !kernel().cgroup1) return std::nullopt;
  return find_mount("cgroup", to_string(what));
}

const char* limit_file(Controller what, bool v1) {
  if (what == Controller::memory) return v1 ? "memory.limit_in_bytes" : "memory.max";
  return v1 ? "cpu.shares" : "cpu.weight";
}

bool has(const Fd& dir, const char* name) {
  return ::faccessat(dir.get(), name, F_OK, 0) == 0;
}

Result<void> write_to(const Fd& dir, const char* name, std::string_view text) {
  auto file = Fd::open_at(dir, name, O_WRONLY);
  if (!file) return fail(std::move(file).error());
  if (::write(file->get(), text.data(), text.size()) < 0) {
    Error error = last_error("write '");
    error.doing.append(text).append("' to '").append(name).append("'");
    return fail(error);
  }
  return {};
}

// The number behind "NAME " in a file of such lines.
std::optional<std::uint64_t> number_in(const Fd& dir, const char* file, std::string_view name) {
  std::array<char, 8192> buffer;
  const auto text = read_small_at(dir, file, buffer);
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto line = take_until(rest, '\n');
    if (take_until(line, ' ') != name) continue;
    std::uint64_t value = 0;
    const auto [end, code] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (code == std::errc{}) return value;
  }
  return std::nullopt;
}

// What its members hold and the kernel cannot take back by writing it out.
std::uint64_t held_for_good(const Fd& dir) {
  std::uint64_t sum = 0;
  for (const char* name : {"anon", "shmem", "slab_unreclaimable"})
    sum += number_in(dir, "memory.stat", name).value_or(0);
  return sum;
}

// Lets the groups below @p group have the controller. The kernel refuses it to a group that holds
// processes itself, unless it is the root of the hierarchy (cgroups(7), "no internal processes").
Result<void> hand_down(const std::string& group, Controller what) {
  auto dir = Fd::open(group, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  std::array<char, 512> buffer;
  auto offered = read_small_at(*dir, "cgroup.controllers", buffer);
  if (!offered) return fail(std::move(offered).error());
  while (offered->ends_with('\n')) offered->remove_suffix(1);
  if (!lists(*offered, to_string(what), ' ')) {
    Error error(Errc::not_supported, "no ");
    error.doing.append(to_string(what))
        .append(" controller in cgroup2 '")
        .append(group)
        .append("'");
    return fail(error);
  }
  Text<16> word("+");
  auto written = write_to(*dir, "cgroup.subtree_control", word.append(to_string(what)));
  if (written || written.error().code.value() != EBUSY) return written;
  Error error = error_from(EBUSY, "cgroup2 '");
  error.doing.append(group).append("' holds processes itself (see DelegateSubgroup in the docs)");
  return fail(error);
}

}  // namespace

std::string_view to_string(Controller what) {
  return what == Controller::memory ? "memory" : "cpu";
}

std::uint64_t cpu_shares_of(std::uint32_t weight) {
  return std::clamp<std::uint64_t>(std::uint64_t{weight} * 1024 / 100, 2, 262'144);
}

Result<std::string> find_v1_folder(Controller what) {
  const auto mount = find_v1_mount(what);
  if (!mount) {
    Text<80> text("no ");
    return fail(Errc::not_supported,
                text.append(to_string(what)).append(" controller in cgroup v1"));
  }
  auto text = read_file("/proc/self/cgroup");
  if (!text) return fail(std::move(text).error());
  std::string_view rest = *text;
  while (!rest.empty()) {
    auto line = take_until(rest, '\n');  // "4:memory:/path"
    take_until(line, ':');
    if (!lists(take_until(line, ':'), to_string(what), ',')) continue;
    std::string own(line);
    if (mount->root != "/" && own.starts_with(mount->root)) own.erase(0, mount->root.size());
    return own == "/" ? mount->folder : mount->folder + own;
  }
  return fail(Errc::not_supported, "find our own group of a v1 hierarchy");
}

std::string why_no_controller(Controller what) {
  const std::string name(to_string(what));
  if (!kernel().cgroup) return "cgroups are masked";
  const auto v2 = find_v2_mount();
  bool offered = false;
  if (v2) {
    auto text = read_file(v2->folder + "/cgroup.controllers");
    while (text && text->ends_with('\n')) text->pop_back();
    offered = text && lists(*text, name, ' ');
  }
  const auto v1 = find_v1_mount(what);
  if (!offered && !v1) return "neither cgroup2 nor a v1 hierarchy has the " + name + " controller";
  const Mount& mount = offered ? *v2 : *v1;
  if (mount.read_only) return "'" + mount.folder + "' is mounted read-only";
  // A part of cgroup2 may be handed to a user, who is not in it now; v1 is root's.
  const auto folder = offered ? Result<std::string>(mount.folder) : find_v1_folder(what);
  if (!offered && folder && ::access(folder->c_str(), W_OK) < 0)
    return "no right to make groups in '" + *folder + "'";
  return {};
}

Result<ControllerGroup> ControllerGroup::open(Controller what, const std::string& path) {
  ControllerGroup group;
  group.what_ = what;
  group.path_ = path;
  auto dir = Fd::open(path, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  group.dir_ = std::move(*dir);
  group.beside_ = !has(group.dir_, "cgroup.controllers");  // which every group of cgroup2 has
  const char* file = limit_file(what, group.beside_);
  if (!has(group.dir_, file)) return fail(error_from(ENOENT, file, path));
  return group;
}

Result<ControllerGroup> ControllerGroup::create(Controller what, const Cgroup& tree,
                                                std::string_view name) {
  if (!kernel().cgroup) return fail(Errc::not_supported, "cgroups are masked");
  Text<160> tried;
  if (tree && tree.kind() == CgroupKind::v2) {
    if (auto own = open(what, tree.path())) return own;
    const auto handed = hand_down(tree.path().substr(0, tree.path().rfind('/')), what);
    if (auto own = open(what, tree.path())) return own;
    if (!handed) tried = Text<160>(handed.error().doing);
  }
  auto folder = find_v1_folder(what);
  if (!folder) {
    Error error = folder.error();
    if (!tried.empty()) error.doing = Text<200>(tried.append("; ").append(error.doing));
    return fail(error);
  }
  const std::string path = *folder + "/" + std::string(name);
  if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST)
    return fail(last_error("make cgroup", path));
  return open(what, path);
}

Result<void> ControllerGroup::renew() {
  if (!dir_ || has(dir_, "cgroup.procs")) return {};
  if (beside_ && ::mkdir(path_.c_str(), 0755) < 0 && errno != EEXIST)
    return fail(last_error("make cgroup", path_));
  auto dir = Fd::open(path_.c_str(), O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  dir_ = std::move(*dir);
  return {};
}

Result<void> ControllerGroup::enter(Pid pid) const {
  if (!dir_ || !beside_) return {};
  Text<24> text;
  text.append_number(pid.number);
  return write_to(dir_, "cgroup.procs", text);
}

void ControllerGroup::let_out(Pid pid) const {
  if (!dir_ || !beside_) return;
  Text<24> text;
  text.append_number(pid.number);
  (void)write_to(dir_, "../cgroup.procs", text);
}

Result<void> ControllerGroup::set_memory_max(Bytes limit) const {
  if (!beside_ && held_for_good(dir_) > limit.count) {
    // cgroup2 would end somebody at once.
    Error error(Errc::refused, "lower 'memory.max' to ");
    error.doing.append_number(static_cast<long long>(limit.count))
        .append(" bytes: its processes hold more");
    return fail(error);
  }
  Text<24> text;
  text.append_number(static_cast<long long>(limit.count));
  return write_to(dir_, limit_file(Controller::memory, beside_), text);
}

Result<void> ControllerGroup::set_cpu_weight(std::uint32_t weight) const {
  Text<24> text;
  text.append_number(static_cast<long long>(beside_ ? cpu_shares_of(weight) : weight));
  return write_to(dir_, limit_file(Controller::cpu, beside_), text);
}

std::optional<std::uint64_t> ControllerGroup::memory_kills() const {
  if (!dir_ || what_ != Controller::memory) return std::nullopt;
  return number_in(dir_, beside_ ? "memory.oom_control" : "memory.events", "oom_kill");
}

Result<void> ControllerGroup::remove() {
  if (!dir_ || !beside_) return {};
  remove_groups_below(dir_);
  dir_.close();
  if (::rmdir(path_.c_str()) < 0 && errno != ENOENT)
    return fail(last_error("remove cgroup", path_));
  return {};
}

}  // namespace gpuward::os
