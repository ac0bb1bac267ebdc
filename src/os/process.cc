#include "os/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "os/kernel.h"
#include "os/proc_fs.h"

namespace gpuward::os {
namespace {

Error process_error(int errno_value, std::string_view verb, Pid pid) {
  Error error = error_from(errno_value, verb);
  error.doing.append(" process ").append_number(pid.number);
  return error;
}

Result<Fd> open_pidfd(Pid pid) {
  if (!kernel().pidfd) return Fd();
  const long number = ::syscall(SYS_pidfd_open, pid.number, 0);
  if (number < 0) return fail(process_error(errno, "hold", pid));
  return Fd::take(static_cast<int>(number));
}

bool ended(const Fd& pidfd) {
  pollfd item{pidfd.get(), POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

}  // namespace

Result<Process> Process::open(Pid pid) {
  auto pidfd = open_pidfd(pid);
  if (!pidfd) return fail(std::move(pidfd).error());
  auto stat = read_stat(pid);
  // The start time belongs to the pidfd's process only if that one still lives after the read.
  if (!stat || (*pidfd && ended(*pidfd))) return fail(process_error(ESRCH, "hold", pid));
  return Process({pid, stat->start_ticks}, std::move(*pidfd));
}

Result<Process> Process::open(ProcessId id) {
  auto process = open(id.pid);
  if (process && process->id() != id) return fail(process_error(ESRCH, "hold", id.pid));
  return process;
}

Result<Process> Process::open_child(Pid pid) {
  auto pidfd = open_pidfd(pid);
  if (!pidfd) return fail(std::move(pidfd).error());
  return take_child(pid, std::move(*pidfd));
}

Result<Process> Process::take_child(Pid pid, Fd pidfd) {
  auto stat = read_stat(pid);  // our unreaped child keeps its number, even as a zombie
  if (!stat) return fail(std::move(stat).error());
  return Process({pid, stat->start_ticks}, std::move(pidfd));
}

bool Process::alive() const {
  if (!id_) return false;
  if (pidfd_) return !ended(pidfd_);
  auto stat = read_stat(id_.pid);
  return stat && stat->start_ticks == id_.start_ticks && !stat->ended();
}

Result<void> Process::signal(int signal_number) const {
  if (pidfd_) {
    if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal_number, nullptr, 0) == 0) return {};
  } else {
    if (!alive()) return fail(process_error(ESRCH, "signal", id_.pid));
    if (::kill(id_.pid.number, signal_number) == 0) return {};
  }
  return fail(process_error(errno, "signal", id_.pid));
}

bool lives(ProcessId id) {
  auto stat = read_stat(id.pid);
  return stat && stat->start_ticks == id.start_ticks && !stat->ended();
}

}  // namespace gpuward::os
