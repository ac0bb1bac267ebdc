#include "os/device_holders.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "os/clock.h"
#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

// A maps file is read to its end, however many mappings there are, but not for ever.
constexpr std::size_t kMostMaps = 4 << 20;

struct Path {
  char text[96];
  explicit Path(Pid pid, const char* rest) {
    std::snprintf(text, sizeof text, "/proc/%d/%s", pid.number, rest);
  }
  Path(Pid pid, Pid thread, const char* rest) {
    std::snprintf(text, sizeof text, "/proc/%d/task/%d/%s", pid.number, thread.number, rest);
  }
};

std::optional<ProcStat> stat_of(Pid pid, Pid thread) {
  char buffer[1024];
  const auto text = read_small(Path(pid, thread, "stat").text, buffer);
  return text ? parse_stat(*text) : std::nullopt;
}

void add_once(std::vector<DeviceUse>& found, const DeviceUse& use) {
  const bool known = std::ranges::any_of(found, [&](const DeviceUse& other) {
    return other.process == use.process && other.device.view() == use.device.view();
  });
  if (!known && found.size() < DeviceHolders::kMostFound) found.push_back(use);
}

}  // namespace

std::string_view mapped_device(std::string_view line, std::string_view prefix) {
  // address perms offset device inode path: no field before the path holds a '/'.
  const std::size_t at = line.find('/');
  if (prefix.empty() || at == std::string_view::npos) return {};
  std::string_view path = line.substr(at);
  return path.starts_with(prefix) ? path : std::string_view();
}

// True when the folder of its descriptors could be read. Threads share descriptors as a rule, and a
// zombie leader shows none: the first thread that lives is as good as all.
bool DeviceHolders::look_through_thread(Pid pid, Pid thread, DeviceUse& use,
                                        std::vector<DeviceUse>& found) {
  const auto folder = Fd::open(Path(pid, thread, "fd").text, O_RDONLY | O_DIRECTORY);
  if (!folder) return false;
  std::size_t seen = 0;
  const auto read = for_each_entry(*folder, [&](std::string_view name, bool) {
    char number[32];
    char target[128];
    if (name.size() >= sizeof number || name.starts_with('.')) return true;
    *std::ranges::copy(name, number).out = '\0';
    const ssize_t length = ::readlinkat(folder->get(), number, target, sizeof target);
    if (length <= 0) return ++seen < kMostDescriptors;
    const std::string_view path(target, static_cast<std::size_t>(length));
    if (path.starts_with(prefix_)) {
      use.device = Text<64>(path);
      add_once(found, use);
    }
    return ++seen < kMostDescriptors;
  });
  return read.has_value();
}

void DeviceHolders::look_through_maps(Pid pid, DeviceUse& use, std::vector<DeviceUse>& found) {
  const auto text = read_file(Path(pid, use.thread, "maps").text, kMostMaps);
  if (!text) return;
  use.mapped = true;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const auto device = mapped_device(rest.substr(0, end), prefix_);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (device.empty()) continue;
    use.device = Text<64>(device);
    add_once(found, use);
  }
}

void DeviceHolders::examine(Pid pid, std::vector<DeviceUse>& found) {
  const auto leader = read_stat(pid);
  if (!leader || leader->ended()) return;
  DeviceUse use;
  use.process = {pid, leader->start_ticks};
  use.leader_is_zombie = leader->state == 'Z';
  const std::size_t before = found.size();
  const auto tasks = Fd::open(Path(pid, "task").text, O_RDONLY | O_DIRECTORY);
  if (!tasks) return;
  std::size_t threads = 0;
  bool readable = false;
  (void)for_each_entry(*tasks, [&](std::string_view name, bool) {
    const auto thread = parse_pid(name);
    if (!thread) return true;
    const auto stat = stat_of(pid, *thread);
    if (stat && stat->state != 'Z' && stat->state != 'X') {
      use.thread = *thread;
      use.state = stat->state;
      use.name = stat->name;
      use.wchan = Text<40>();
      char buffer[64];
      if (const auto where = read_small(Path(pid, *thread, "wchan").text, buffer);
          where && *where != "0")
        use.wchan = Text<40>(*where);
      use.mapped = false;
      const bool read = look_through_thread(pid, *thread, use, found);
      if (read && !readable) look_through_maps(pid, use, found);
      readable |= read;
    }
    // The rest of a process's threads share its descriptors, unless each was unshared on purpose.
    return ++threads < kMostThreads && found.size() < kMostFound;
  });
  // Whoever got the number meanwhile is another process.
  const auto after = read_stat(pid);
  if (!after || after->start_ticks != leader->start_ticks) {
    found.resize(before);
    return;
  }
  if (!readable) ++unreadable_;
  if (readable && found.size() == before && !use.leader_is_zombie &&
      without_.size() < kMostRemembered)
    without_[pid] = leader->start_ticks;
  else
    without_.erase(pid);
}

std::vector<DeviceUse> DeviceHolders::of(std::span<const Pid> pids) {
  unreadable_ = 0;
  std::vector<DeviceUse> found;
  for (const Pid pid : pids) examine(pid, found);
  return found;
}

std::vector<DeviceUse> DeviceHolders::look(Instant deadline) {
  unreadable_ = 0;
  std::vector<Pid> pids;
  (void)for_each_process([&](Pid pid) { pids.push_back(pid); });
  std::ranges::sort(pids);
  std::erase_if(without_,
                [&](const auto& one) { return !std::ranges::binary_search(pids, one.first); });
  std::vector<DeviceUse> found;
  for (const Pid pid : pids) {
    if (pid <= resume_after_) continue;
    const auto known = without_.find(pid);
    bool skip = false;
    if (known != without_.end()) {
      const auto stat = read_stat(pid);
      skip = !stat || (stat->start_ticks == known->second && stat->state != 'Z');
    }
    if (!skip) examine(pid, found);
    if (now() >= deadline || found.size() == kMostFound) {
      resume_after_ = pid == pids.back() ? Pid{} : pid;
      return found;
    }
  }
  resume_after_ = {};
  return found;
}

}  // namespace gpuward::os
