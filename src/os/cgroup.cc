#include "os/cgroup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/cgroup_lines.h"
#include "os/kernel.h"

namespace gpuward::os {
namespace {

constexpr int kMaxDepth = 16;  // groups below ours; each level holds one open folder

struct Hierarchy {
  std::string mount;
  std::string own;  // our own group's path inside the hierarchy
};

// "/proc/self/mountinfo" field 5 is the mount point, field 4 the root of the mount within the file
// system; after " - " come the type and the super options (proc_pid_mountinfo(5)).
std::optional<std::string> find_mount(CgroupKind kind, std::string_view mountinfo) {
  while (!mountinfo.empty()) {
    const auto line = mountinfo.substr(0, mountinfo.find('\n'));
    mountinfo.remove_prefix(std::min(line.size() + 1, mountinfo.size()));
    const auto dash = line.find(" - ");
    if (dash == std::string_view::npos) continue;
    const auto tail = line.substr(dash + 3);
    const bool match = kind == CgroupKind::v2 ? tail.starts_with("cgroup2 ")
                                              : tail.starts_with("cgroup ") &&
                                                    tail.find("freezer") != std::string_view::npos;
    if (!match) continue;
    auto field = line;
    for (int skip = 0; skip < 4; ++skip) field.remove_prefix(field.find(' ') + 1);
    return std::string(field.substr(0, field.find(' ')));
  }
  return std::nullopt;
}

std::optional<std::string_view> own_path(CgroupKind kind, std::string_view text) {
  std::optional<std::string_view> found;
  const auto look = [&](std::string_view line, std::string_view controllers,
                        std::string_view path) {
    const bool match = kind == CgroupKind::v2
                           ? line.starts_with("0::")
                           : controllers.find("freezer") != std::string_view::npos;
    if (match && !found) found = path;
  };
  for_each_cgroup_line(text, look);
  return found;
}

Result<Hierarchy> find_hierarchy(CgroupKind kind) {
  auto mountinfo = read_file("/proc/self/mountinfo");
  if (!mountinfo) return fail(std::move(mountinfo).error());
  auto mount = find_mount(kind, *mountinfo);
  if (!mount)
    return fail(Errc::not_supported,
                kind == CgroupKind::v2 ? "find a cgroup2 mount" : "find a freezer mount");
  auto cgroups = read_file("/proc/self/cgroup");
  if (!cgroups) return fail(std::move(cgroups).error());
  auto own = own_path(kind, *cgroups);
  if (!own) return fail(Errc::not_supported, "find our own cgroup");
  return Hierarchy{*mount, std::string(*own)};
}

// The mount that @p path stands below. The one found first is asked first from then on: the list of
// all mounts is long, and a status of a thousand services opens a thousand groups.
Result<std::string> mount_of(CgroupKind kind, const std::string& path) {
  static std::array<std::string, 3> known;
  std::string& mount = known[static_cast<std::size_t>(kind)];
  if (mount.empty() || !path.starts_with(mount)) {
    auto hierarchy = find_hierarchy(kind);
    if (!hierarchy) return fail(std::move(hierarchy).error());
    mount = hierarchy->mount;
  }
  if (!path.starts_with(mount)) return fail(Errc::invalid, "open a cgroup outside its mount");
  return mount;
}

Result<void> write_small(const Fd& dir, const char* name, std::string_view text) {
  auto file = Fd::open_at(dir, name, O_WRONLY);
  if (!file) {
    if (file.error().code.value() == ENOENT) return fail(Errc::not_supported, name);
    return fail(std::move(file).error());
  }
  if (::write(file->get(), text.data(), text.size()) < 0) return fail(last_error("write", name));
  return {};
}

std::string join(const std::string& parent, std::string_view name) {
  std::string path = parent;
  if (path.empty() || path.back() != '/') path += '/';
  return path.append(name);
}

// rmdir of all groups below @p dir; the kernel refuses while one of them is populated.
void remove_below(const Fd& dir, int depth) {
  if (depth > kMaxDepth) return;
  (void)for_each_entry(dir, [&](std::string_view name, bool folder) {
    std::array<char, 256> leaf{};
    if (!folder || name.size() >= leaf.size()) return true;
    name.copy(leaf.data(), name.size());
    auto below = Fd::open_at(dir, leaf.data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!below) return true;
    remove_below(*below, depth + 1);
    ::unlinkat(dir.get(), leaf.data(), AT_REMOVEDIR);
    return true;
  });
}

void thaw(const Fd& dir, int depth) {
  if (depth > kMaxDepth) return;
  (void)write_small(dir, "freezer.state", "THAWED");
  (void)for_each_entry(dir, [&](std::string_view name, bool folder) {
    std::array<char, 256> leaf{};
    if (!folder || name.size() >= leaf.size()) return true;
    name.copy(leaf.data(), name.size());
    if (auto below = Fd::open_at(dir, leaf.data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
      thaw(*below, depth + 1);
    return true;
  });
}

void find_below(const Fd& dir, const NamedCgroup& at, std::string_view ending, int depth,
                std::vector<NamedCgroup>& found) {
  (void)for_each_entry(dir, [&](std::string_view name, bool folder) {
    if (!folder || depth > kMaxDepth) return true;
    const std::string leaf(name);
    const NamedCgroup group{at.kind, join(at.path, name)};
    if (name.ends_with(ending)) found.push_back(group);
    auto below = Fd::open_at(dir, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (below) find_below(*below, group, ending, depth + 1, found);
    return true;
  });
}

}  // namespace

Result<Cgroup> Cgroup::open(CgroupKind kind, const std::string& path) {
  Cgroup group;
  group.kind_ = kind;
  group.path_ = path;
  auto dir = Fd::open(path, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  group.dir_ = std::move(*dir);
  auto mount = mount_of(kind, path);
  if (!mount) return fail(std::move(mount).error());
  group.relative_ = path.substr(mount->size());
  if (kind == CgroupKind::v2) {
    auto events = Fd::open_at(group.dir_, "cgroup.events", O_RDONLY);
    if (!events) return fail(std::move(events).error());
    group.events_ = std::move(*events);
  }
  return group;
}

Result<Cgroup> Cgroup::create(CgroupKind kind, const std::string& parent, std::string_view name) {
  const std::string path = join(parent, name);
  const bool made = ::mkdir(path.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) return fail(last_error("make cgroup", path));
  auto group = open(kind, path);
  if (!group) return group;
  group->maybe_killed_ = !made;
  auto populated = group->populated();
  if (!populated) return fail(std::move(populated).error());
  if (*populated) return fail(error_from(EBUSY, "take cgroup", path));
  (void)group->freeze(false);  // left over from an owner that died in the middle of a stop
  return group;
}

Result<void> Cgroup::enter(Pid pid) const {
  Text<24> text;
  text.append_number(pid.number);
  return write_small(dir_, "cgroup.procs", text);
}

Result<void> Cgroup::move_all_out() const {
  constexpr int kPasses = 8;  // over what forks while it is moved
  auto procs = Fd::open_at(dir_, "../gpuward.programs/cgroup.procs", O_WRONLY);
  if (!procs) procs = Fd::open_at(dir_, "../cgroup.procs", O_WRONLY);
  if (!procs) return fail(std::move(procs).error());
  std::optional<Error> trouble;
  for (int pass = 0; pass < kPasses; ++pass) {
    bool any = false;
    trouble.reset();
    GPUWARD_TRY(for_each_member([&](Pid pid) {
      Text<24> text;
      text.append_number(pid.number);
      if (::write(procs->get(), text.view().data(), text.size()) >= 0)
        any = true;
      else if (errno != ESRCH)
        trouble = last_error("move a process out of a cgroup");
    }));
    if (!any) break;
  }
  if (trouble) return fail(*trouble);
  return {};
}

bool Cgroup::exists() const {
  return dir_ && ::faccessat(dir_.get(), "cgroup.procs", F_OK, 0) == 0;
}

Result<bool> Cgroup::populated() const {
  if (!exists()) return false;
  if (kind_ == CgroupKind::v2 && events_) {
    std::array<char, 128> buffer{};
    const ssize_t n = ::pread(events_.get(), buffer.data(), buffer.size(), 0);
    if (n < 0) return fail(last_error("read", "cgroup.events"));
    return std::string_view(buffer.data(), static_cast<std::size_t>(n)).find("populated 1") !=
           std::string_view::npos;
  }
  bool found = false;
  auto listed = for_each_member([&](Pid pid) {
    auto stat = read_stat(pid);
    found |= stat && !stat->ended();
  });
  if (!listed) return fail(std::move(listed).error());
  return found;
}

Result<void> Cgroup::each_member(const Fd& dir, detail::PidCallback callback, void* context,
                                 int depth) {
  if (depth > kMaxDepth) return fail(Errc::refused, "list cgroups nested deeper than 16");
  auto file = Fd::open_at(dir, "cgroup.procs", O_RDONLY);
  if (!file) return fail(std::move(file).error());
  std::array<char, 4096> buffer;
  std::size_t held = 0;
  for (;;) {
    const ssize_t n = ::read(file->get(), buffer.data() + held, buffer.size() - held);
    if (n < 0 && errno == EINTR) continue;
    // A threaded group answers EOPNOTSUPP; its members are listed by the group above it.
    if (n < 0 && errno == EOPNOTSUPP) break;
    if (n < 0) return fail(last_error("read", "cgroup.procs"));
    if (n == 0) break;
    std::string_view text(buffer.data(), held + static_cast<std::size_t>(n));
    for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      if (auto pid = parse_pid(text.substr(0, end))) callback(context, *pid);
      text.remove_prefix(end + 1);
    }
    held = text.size();
    std::copy(text.begin(), text.end(), buffer.begin());
  }
  // The links of a kernfs folder are its own two and one for each folder below
  // (kernfs_refresh_inode in fs/kernfs/inode.c): listing dozens of files to find none costs more
  // than all the rest.
  struct stat info{};
  if (::fstat(dir.get(), &info) == 0 && info.st_nlink == 2) return {};
  std::optional<Error> trouble;
  auto listed = for_each_entry(dir, [&](std::string_view name, bool folder) {
    std::array<char, 256> leaf{};
    if (!folder || name.size() >= leaf.size()) return true;
    name.copy(leaf.data(), name.size());
    auto below = Fd::open_at(dir, leaf.data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!below) return true;
    auto inner = each_member(*below, callback, context, depth + 1);
    if (!inner && inner.error().code.value() != ENOENT && inner.error().code.value() != ENODEV)
      trouble = inner.error();
    return true;
  });
  if (trouble) return fail(*trouble);
  return listed;
}

bool Cgroup::has_path(const char* proc_folder) const {
  auto dir = Fd::open(proc_folder, O_PATH | O_DIRECTORY);
  if (!dir) return false;
  std::array<char, 4096> buffer;
  auto text = read_small_at(*dir, "cgroup", buffer);
  if (!text) return false;
  auto own = own_path(kind_, *text);
  if (!own || !own->starts_with(relative_)) return false;
  return own->size() == relative_.size() || (*own)[relative_.size()] == '/';
}

bool Cgroup::holds(Pid pid) const {
  std::array<char, 96> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d", pid.number);
  if (has_path(path.data())) return true;
  if (kind_ != CgroupKind::v1_freezer) return false;
  // v1 says "/" of a first thread that has ended; the others still tell.
  std::snprintf(path.data(), path.size(), "/proc/%d/task", pid.number);
  auto tasks = Fd::open(path.data(), O_RDONLY | O_DIRECTORY);
  bool found = false;
  if (tasks)
    (void)for_each_entry(*tasks, [&](std::string_view name, bool) {
      std::snprintf(path.data(), path.size(), "/proc/%d/task/%.*s", pid.number,
                    static_cast<int>(name.size()), name.data());
      found = parse_pid(name) && has_path(path.data());
      return !found;
    });
  return found;
}

Result<void> Cgroup::freeze(bool on) const {
  if (!kernel().cgroup_freeze) return fail(Errc::not_supported, "cgroup.freeze");
  if (kind_ == CgroupKind::v1_freezer)
    return write_small(dir_, "freezer.state", on ? "FROZEN" : "THAWED");
  return write_small(dir_, "cgroup.freeze", on ? "1" : "0");
}

void Cgroup::let_end() const {
  if (kind_ == CgroupKind::v1_freezer) thaw(dir_, 0);
}

Result<void> Cgroup::kill() const {
  if (!kernel().cgroup_kill || kind_ != CgroupKind::v2)
    return fail(Errc::not_supported, "cgroup.kill");
  maybe_killed_ = true;
  return write_small(dir_, "cgroup.kill", "1");
}

Result<void> Cgroup::remove() {
  remove_below(dir_, 0);
  if (::rmdir(path_.c_str()) < 0 && errno != ENOENT)
    return fail(last_error("remove cgroup", path_));
  dir_.close();
  events_.close();
  return {};
}

void remove_groups_below(const Fd& dir) {
  remove_below(dir, 0);
}

std::string_view group_for_trees(std::string_view own) {
  const auto slash = own.rfind('/');
  if (slash == std::string_view::npos || own.substr(slash + 1) != kProgramsGroup) return own;
  return slash == 0 ? "/" : own.substr(0, slash);
}

CgroupPlace find_cgroup_place() {
  CgroupPlace place;
  if (!kernel().cgroup) {
    place.reason = "masked";
    return place;
  }
  for (auto kind : {CgroupKind::v2, CgroupKind::v1_freezer}) {
    if (kind == CgroupKind::v2 ? !kernel().cgroup2 : !kernel().cgroup1) continue;
    auto hierarchy = find_hierarchy(kind);
    if (!hierarchy) {
      if (place.reason.empty()) place.reason = hierarchy.error().message();
      continue;
    }
    const std::string own(group_for_trees(hierarchy->own));
    const std::string parent = own == "/" ? hierarchy->mount : hierarchy->mount + own;
    Text<40> trial_name("gpuward.try.");
    trial_name.append_number(::getpid());
    auto trial = Cgroup::create(kind, parent, trial_name);
    if (trial) {
      // Making a group is not enough: a process must be allowed to move in (delegation rules).
      const bool may_enter =
          ::faccessat(trial->dir_fd(), "cgroup.procs", W_OK, 0) == 0 &&
          (kind != CgroupKind::v2 || ::access(join(parent, "cgroup.procs").c_str(), W_OK) == 0);
      (void)trial->remove();
      if (may_enter) {
        place.kind = kind;
        place.mount = hierarchy->mount;
        place.parent = parent;
        place.reason.clear();
        return place;
      }
      place.reason = "no right to move processes into cgroups below '" + parent + "'";
    } else if (place.reason.empty() || kind == CgroupKind::v2) {
      place.reason = trial.error().message();
    }
  }
  return place;
}

std::vector<NamedCgroup> find_cgroups(std::string_view ending) {
  std::vector<NamedCgroup> found;
  if (!kernel().cgroup) return found;
  for (auto kind : {CgroupKind::v2, CgroupKind::v1_freezer}) {
    auto hierarchy = find_hierarchy(kind);
    auto dir = hierarchy ? Fd::open(hierarchy->mount, O_RDONLY | O_DIRECTORY)
                         : Result<Fd>(fail(hierarchy.error()));
    if (dir) find_below(*dir, {kind, hierarchy->mount}, ending, 0, found);
  }
  return found;
}

}  // namespace gpuward::os
