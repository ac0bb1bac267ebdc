#include "os/pid_namespace.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/text.h"
#include "os/fd.h"
#include "os/kernel.h"

namespace gpuward::os {
namespace {

constexpr const char* kName = "gpuward-init";

// After clone: only async-signal-safe calls. Signals of those inside do not reach it, as it handles
// none; KILL of those outside does.
[[noreturn]] void lead(bool die_with_parent, int tell, int gate) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::signal(SIGCHLD, SIG_IGN);  // orphans leave no zombies
  ::prctl(PR_SET_NAME, kName);
  // Nor does its command line look like the program that it is a copy of.
  const std::size_t room = std::strlen(program_invocation_name);
  std::memset(program_invocation_name, 0, room);
  std::copy_n(kName, std::min(room, std::strlen(kName)), program_invocation_name);
  ::setsid();  // no signal of a terminal or a group means it
  if (die_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  char word = 'r';
  (void)!::write(tell, &word, 1);
  // A parent that died before it could be noticed has closed its end.
  if (::read(gate, &word, 1) != 1) ::_exit(1);
  for (unsigned fd = 0; ::syscall(SYS_close_range, fd, ~0U, 0) < 0 && fd < 1024; ++fd)
    ::close(static_cast<int>(fd));
  for (;;) ::pause();
}

Result<void> write_map(Pid pid, const char* leaf, std::string_view text) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/%s", pid.number, leaf);
  auto file = Fd::open(path.data(), O_WRONLY);
  if (!file) return fail(std::move(file).error());
  if (::write(file->get(), text.data(), text.size()) < 0) return fail(last_error("write", leaf));
  return {};
}

Result<void> map_same(Pid pid) {
  const auto same = [](unsigned id) {
    Text<64> text;
    text.append_number(id).append(" ").append_number(id).append(" 1\n");
    return text;
  };
  GPUWARD_TRY(write_map(pid, "setgroups", "deny"));  // user_namespaces(7): before gid_map
  GPUWARD_TRY(write_map(pid, "uid_map", same(::geteuid())));
  return write_map(pid, "gid_map", same(::getegid()));
}

}  // namespace

Result<PidNamespace> PidNamespace::make(bool die_with_us) {
  if (!kernel().pid_namespace || !kernel().pidfd)
    return fail(Errc::not_supported, "make a PID namespace");
  auto gate = make_pipe();
  auto told = make_pipe();
  if (!gate || !told) return fail(std::move(gate ? told : gate).error());
  PidNamespace made;
  int pidfd = -1;
  long child = -1;
  for (const bool with_user : {false, true}) {
    clone_args args{};
    args.exit_signal = SIGCHLD;
    args.flags = CLONE_NEWPID | CLONE_PIDFD | (with_user ? std::uint64_t{CLONE_NEWUSER} : 0);
    args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    child = ::syscall(SYS_clone3, &args, sizeof args);
    if (child == 0) {
      gate->write.close();
      lead(die_with_us, told->write.get(), gate->read.get());
    }
    made.with_user_ = with_user;
    if (child > 0 || errno != EPERM) break;
  }
  if (child < 0) return fail(last_error("make a PID namespace"));
  const Pid pid{static_cast<pid_t>(child)};
  auto first = Process::take_child(pid, Fd::take(pidfd));
  auto mapped = made.with_user_ ? map_same(pid) : Result<void>{};
  told->write.close();
  char word = 0;
  if (mapped && ::read(told->read.get(), &word, 1) != 1)
    mapped = fail(error_from(ESRCH, "make a PID namespace"));
  if (!first || !mapped) {
    gate->write.close();  // ends it
    ::waitpid(pid.number, nullptr, 0);
    return fail(first ? mapped.error() : first.error());
  }
  made.first_ = std::move(*first);
  made.gate_ = std::move(gate->write);
  return made;
}

Result<PidNamespace> PidNamespace::open(ProcessId first) {
  auto process = Process::open(first);
  if (!process) return fail(std::move(process).error());
  PidNamespace opened;
  opened.first_ = std::move(*process);
  return opened;
}

void PidNamespace::settle() {
  if (gate_) (void)!::write(gate_.get(), "g", 1);  // one that died meanwhile shows as its end
  gate_.close();
}

void PidNamespace::kill() const {
  if (first_) (void)first_.signal(SIGKILL);
}

int PidNamespace::entry_flags() const {
  return CLONE_NEWPID | (with_user_ ? CLONE_NEWUSER : 0);
}

}  // namespace gpuward::os
