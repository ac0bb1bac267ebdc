#include "warden/observation.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "os/proc_fs.h"
#include "os/socket.h"

namespace gpuward::warden {

ProgressFacts progress_of(const Fleet::Member& member) {
  static const auto tick_ns =
      1'000'000'000U / static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  ProgressFacts facts;
  struct stat log{};
  if (::stat(member.plan.log_file.c_str(), &log) == 0)
    facts.out_bytes = static_cast<std::uint64_t>(log.st_size);
  std::uint64_t cpu = 0;
  std::uint64_t io = 0;
  bool sees_cpu = true;
  bool sees_io = true;
  for (const auto pid : control::tree_pids(member.folder, member.state)) {
    const Pid process{static_cast<pid_t>(pid)};
    const auto stat = os::read_stat(process);
    if (!stat) continue;  // it has just ended: the count tells
    ++facts.processes;
    cpu += stat->cpu_ticks * tick_ns;
    sees_cpu &= stat->state != 'D';
    const auto bytes = os::read_storage_bytes(process);
    sees_io &= bytes.has_value();
    io += bytes.value_or(0);
  }
  if (sees_cpu && facts.processes != 0) facts.cpu_ns = cpu;
  if (sees_io) facts.io_bytes = io;
  return facts;
}

std::vector<std::uint16_t> ports_of(const Fleet::Member& member) {
  std::vector<std::uint16_t> ports;
  const auto add = [&](std::uint16_t port) {
    if (port != 0 && std::ranges::find(ports, port) == ports.end()) ports.push_back(port);
  };
  add(member.plan.port);
  for (const auto* address : {&member.plan.ready.address, &member.plan.live.address})
    if (const auto parsed = os::parse_tcp_address(*address)) add(parsed->port());
  return ports;
}

}  // namespace gpuward::warden
