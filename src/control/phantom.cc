#include "control/phantom.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>

#include "os/clock.h"
#include "os/fd.h"
#include "os/proc_fs.h"

namespace gpuward::control {
namespace {

using Suspect = PhantomFacts::Suspect;

constexpr std::size_t kMostSuspects = 16;
constexpr ino_t kFirstPidNamespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO, include/linux/proc_ns.h

std::string proc(Pid pid, const std::string& leaf) {
  return "/proc/" + std::to_string(pid.number) + "/" + leaf;
}

// Does one of the descriptors in @p folder lead to a card? Errors: as open(2) of the folder.
Result<bool> opens_device(const std::string& folder, std::string_view files) {
  auto dir = os::Fd::open(folder, O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  bool found = false;
  (void)os::for_each_entry(*dir, [&](std::string_view name, bool) {
    std::array<char, PATH_MAX> target;
    const std::string leaf(name);
    const ssize_t n = ::readlinkat(dir->get(), leaf.c_str(), target.data(), target.size());
    found =
        std::string_view(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0).starts_with(files);
    return !found;
  });
  return found;
}

// The files of a process whose first thread has ended are seen through the others.
bool a_thread_opens_device(Pid pid, std::string_view files) {
  bool found = false;
  auto dir = os::Fd::open(proc(pid, "task"), O_RDONLY | O_DIRECTORY);
  if (!dir) return false;
  (void)os::for_each_entry(*dir, [&](std::string_view name, bool) {
    found = opens_device(proc(pid, "task/" + std::string(name) + "/fd"), files).value_or(false);
    return !found;
  });
  return found;
}

void look_at(Pid pid, std::string_view files, PhantomFacts& facts) {
  const auto stat = os::read_stat(pid);
  // Our own eyes have every card open.
  if (!stat || stat->ended() || stat->name.view().starts_with("gpuward-senti")) return;
  Suspect suspect{pid, {}, Suspect::Why::holds_device};
  if (stat->state == 'Z') {
    if (!a_thread_opens_device(pid, files)) return;
    suspect.why = Suspect::Why::leader_ended;
  } else {
    const auto opens = opens_device(proc(pid, "fd"), files);
    if (!opens && opens.error().code.value() == EACCES) ++facts.unreadable;
    if (!opens || !*opens) return;
    if (stat->state == 'D') suspect.why = Suspect::Why::cannot_end;
  }
  if (facts.suspects.size() == kMostSuspects) {
    ++facts.more;
    return;
  }
  suspect.command = os::read_command(pid, 100).value_or(std::string(stat->name.view()));
  facts.suspects.push_back(std::move(suspect));
}

}  // namespace

std::string device_files() {
  const char* chosen = std::getenv("GPUWARD_DEVICE_FILES");
  return chosen != nullptr && *chosen == '/' ? chosen : "/dev/nvidia";
}

PhantomFacts look_for_phantoms(const std::set<Pid>& rows, Instant deadline) {
  PhantomFacts facts;
  const std::string files = device_files();
  struct stat space{};
  facts.own_pid_namespace =
      ::stat("/proc/self/ns/pid", &space) == 0 && space.st_ino != kFirstPidNamespace;
  (void)os::for_each_process([&](Pid pid) {
    if (facts.cut || rows.contains(pid)) return;
    facts.cut = os::now() >= deadline;
    if (!facts.cut) look_at(pid, files, facts);
  });
  return facts;
}

}  // namespace gpuward::control
