#include "os/container.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "base/cgroup_lines.h"

namespace gpuward::os {
namespace {

constexpr std::size_t kIdLength = 64;
constexpr std::size_t kMostGroups = 4096;  // bytes of /proc/PID/cgroup

bool hexadecimal(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

using GroupsBuffer = std::array<char, kMostGroups>;

std::string_view read_groups(Pid pid, GroupsBuffer& buffer) {
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/cgroup", pid.number);
  auto text = read_small(path.data(), buffer);
  return text ? *text : std::string_view{};
}

// Calls @p visit(path, at) for each id in @p path: 64 hexadecimal digits and no more of them.
template <class Visit>
void for_each_id(std::string_view path, Visit&& visit) {
  std::size_t run = 0;
  for (std::size_t at = 0; at <= path.size(); ++at) {
    if (at < path.size() && hexadecimal(path[at])) {
      ++run;
      continue;
    }
    if (run == kIdLength) visit(at - kIdLength);
    run = 0;
  }
}

// The name of the group that holds position @p at, from its slash to the next.
std::string_view component_at(std::string_view path, std::size_t at) {
  const auto slash = path.rfind('/', at);
  const auto begin = slash == std::string_view::npos ? 0 : slash + 1;
  return path.substr(begin, path.find('/', at) - begin);
}

bool is_monitor(std::string_view group) {
  return group.find("conmon-") != std::string_view::npos;
}

}  // namespace

Text<64> read_container_id(const char* path) {
  auto file = Fd::open_regular_at(Fd(), path, O_RDONLY | O_NOFOLLOW);
  if (!file) return {};
  struct stat info{};
  if (::fstat(file->get(), &info) < 0) return {};
  if (info.st_uid != 0 && info.st_uid != ::geteuid()) return {};
  std::array<char, kIdLength + 2> buffer{};
  const ssize_t n = ::read(file->get(), buffer.data(), buffer.size());
  if (n <= 0) return {};
  std::string_view text(buffer.data(), static_cast<std::size_t>(n));
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (text.size() != kIdLength) return {};
  for (const char c : text)
    if (!hexadecimal(c)) return {};
  return {text};
}

std::optional<ContainerPath> find_container(std::string_view cgroups, std::string_view id) {
  std::optional<ContainerPath> found;
  if (id.size() != kIdLength) return found;
  for_each_cgroup_line(
      cgroups, [&](std::string_view line, std::string_view, std::string_view path) {
        const bool v2 = line.starts_with("0::");
        for_each_id(path, [&](std::size_t at) {
          if (path.substr(at, kIdLength) != id || is_monitor(component_at(path, at))) return;
          const auto end = std::min(path.find('/', at), path.size());
          if (!found || (v2 && !found->v2)) found = ContainerPath{v2, path.substr(0, end)};
        });
      });
  return found;
}

std::string_view container_id_in(std::string_view cgroups) {
  std::string_view found;
  for_each_cgroup_line(cgroups, [&](std::string_view, std::string_view, std::string_view path) {
    std::string_view innermost;
    for_each_id(path, [&](std::size_t at) {
      if (!is_monitor(component_at(path, at))) innermost = path.substr(at, kIdLength);
    });
    if (found.empty()) found = innermost;
  });
  return found;
}

Text<64> container_of(Pid pid) {
  GroupsBuffer buffer;
  return {container_id_in(read_groups(pid, buffer))};
}

bool in_container(Pid pid, std::string_view id) {
  GroupsBuffer buffer;
  return find_container(read_groups(pid, buffer), id).has_value();
}

bool container_lives(std::string_view id) {
  bool any = false;
  if (id.size() == kIdLength) (void)for_each_in_container(id, [&](Pid) { any = true; });
  return any;
}

// "/proc/self/mountinfo": field 5 is the mount point; after " - " comes the type.
std::string ContainerGroup::find_mount() {
  auto text = read_file("/proc/self/mountinfo", 4 << 20);
  if (!text) return {};
  std::string_view rest = *text;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.find(" - cgroup2 ") == std::string_view::npos) continue;
    auto field = line;
    for (int skip = 0; skip < 4; ++skip) field.remove_prefix(field.find(' ') + 1);
    return std::string(field.substr(0, field.find(' ')));
  }
  return {};
}

ContainerGroup ContainerGroup::open(std::string_view mount, Pid pid, std::string_view id) {
  GroupsBuffer buffer;
  const auto place = find_container(read_groups(pid, buffer), id);
  if (mount.empty() || !place || !place->v2) return {};
  std::array<char, 512> path{};
  if (mount.size() + place->path.size() >= path.size()) return {};
  mount.copy(path.data(), mount.size());
  place->path.copy(path.data() + mount.size(), place->path.size());
  ContainerGroup group;
  group.path_ = Text<512>(path.data());
  auto dir = Fd::open(path.data(), O_RDONLY | O_DIRECTORY);
  if (!dir) return {};
  auto events = Fd::open_at(*dir, "cgroup.events", O_RDONLY);
  if (!events) return {};
  group.dir_ = std::move(*dir);
  group.events_ = std::move(*events);
  // Paths of another cgroup namespace lead elsewhere: a member lives, so it must say so.
  if (!group.populated() && in_container(pid, id)) return {};
  return group;
}

bool ContainerGroup::populated() const {
  if (!events_) return false;
  std::array<char, 128> buffer{};
  const ssize_t n = ::pread(events_.get(), buffer.data(), buffer.size(), 0);
  if (n <= 0) return false;  // ENODEV: it was removed
  return std::string_view(buffer.data(), static_cast<std::size_t>(n)).find("populated 1") !=
         std::string_view::npos;
}

Result<void> ContainerGroup::kill() const {
  auto file = Fd::open_at(dir_, "cgroup.kill", O_WRONLY);
  if (!file) return fail(std::move(file).error());
  if (::write(file->get(), "1", 1) < 0) return fail(last_error("write", "cgroup.kill"));
  return {};
}

}  // namespace gpuward::os
