#include "control/phantom.h"

#include <cstdlib>

#include "os/device_holders.h"
#include "os/proc_fs.h"

namespace gpuward::control {
namespace {

using Suspect = PhantomFacts::Suspect;

constexpr std::size_t kMostSuspects = 16;

Suspect::Why why_of(const os::DeviceUse& use) {
  if (use.leader_is_zombie) return Suspect::Why::leader_ended;
  return use.state == 'D' ? Suspect::Why::cannot_end : Suspect::Why::holds_device;
}

}  // namespace

std::string device_files() {
  const char* chosen = std::getenv("GPUWARD_DEVICE_FILES");
  return chosen != nullptr && *chosen == '/' ? chosen : "/dev/nvidia";
}

PhantomFacts look_for_phantoms(const std::set<Pid>& rows, Instant deadline) {
  PhantomFacts facts;
  facts.own_pid_namespace = !os::pids_are_the_kernels();
  os::DeviceHolders holders(device_files());
  std::set<Pid> seen = rows;  // a process with two files of a card is one suspect
  for (const auto& use : holders.look(deadline)) {
    const Pid pid = use.process.pid;
    // Our own eyes have every card open.
    if (use.name.view().starts_with("gpuward-senti") || !seen.insert(pid).second) continue;
    if (facts.suspects.size() == kMostSuspects) {
      ++facts.more;
      continue;
    }
    facts.suspects.push_back(
        {pid, os::read_command(pid, 100).value_or(std::string(use.name.view())), why_of(use)});
  }
  facts.unreadable = static_cast<std::uint32_t>(holders.unreadable());
  facts.cut = !holders.done();
  return facts;
}

}  // namespace gpuward::control
