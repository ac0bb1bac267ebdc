#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/pid.h"
#include "base/text.h"
#include "base/units.h"
#include "os/fd.h"

namespace gpuward::os {

/// /proc/PID/stat, the fields we use (proc_pid_stat(5)).
struct ProcStat {
  Text<32> name;     ///< the kernel's comm, at most 15 bytes, without the brackets
  char state = '?';  ///< R S D T t Z X I
  Pid parent;
  Pid session;
  std::uint64_t start_ticks = 0;
  std::uint64_t cpu_ticks = 0;  ///< user + system, clock ticks
  std::uint32_t threads = 0;    ///< an exited leader counts as one

  /// Not when only its first thread has: 'Z' is the leader's state, and the others may run on.
  bool ended() const { return state == 'X' || (state == 'Z' && threads <= 1); }
};

/// Parses the text of a stat file. comm may hold spaces and brackets: it ends at the last ')'.
std::optional<ProcStat> parse_stat(std::string_view text);

/// Errors: ENOENT or ESRCH when there is no such process. Allocates nothing.
Result<ProcStat> read_stat(Pid pid);

/// The command line with single spaces, made printable(), at most @p limit bytes; "[name]"
/// for kernel threads and zombies.
Result<std::string> read_command(Pid pid, std::size_t limit = 4096);

/// The words of the command line with single spaces between them, as far as they fit into @p
/// buffer, as they are. Empty for kernel threads, zombies and what cannot be read. Allocates
/// nothing.
std::string_view read_words(Pid pid, std::span<char> buffer);

/// The kernel function a sleeping process waits in, or empty when it cannot be seen.
Text<40> read_wchan(Pid pid);

/// Bytes that @p pid has read from and written to storage, so far (/proc/PID/io: what the page
/// cache had is not counted). Errors: EACCES for another user's.
Result<std::uint64_t> read_storage_bytes(Pid pid);
/// The text of that file.
std::optional<std::uint64_t> parse_storage_bytes(std::string_view text);

/// Does the environment that @p pid was started with hold @p variable, "NAME=VALUE"? False where it
/// cannot be read: another user's, a kernel thread's. Allocates nothing.
bool environment_has(Pid pid, std::string_view variable);

/// Calls @p visit(std::string_view) for each "NAME=VALUE" in the environment that @p pid was
/// started with, until it returns false. One of 8 KiB or more is passed over. Of what cannot be
/// read there is none, as with environment_has(). Allocates nothing.
template <class Visit>
void for_each_variable(Pid pid, Visit&& visit);

/// The process and those it comes from, by name: "gpuward < bash < sshd", as far as it fits and up
/// to the first process of the machine. Names are what the kernel has for them, without arguments.
/// Allocates nothing.
Text<80> read_lineage(Pid pid);

/// Who had logged in when the process, or an ancestor, was started: stays through su and sudo.
/// nullopt where nobody had, or the kernel does not keep it (CONFIG_AUDIT).
std::optional<unsigned> read_login_uid(Pid pid);

/// Real user id of the process.
Result<unsigned> read_uid(Pid pid);

/// Calls @p visit(Pid) for each process in /proc. Allocates nothing.
template <class Visit>
Result<void> for_each_process(Visit&& visit);

/// Calls @p visit(Pid) for each child of each thread of @p parent
/// (/proc/PID/task/TID/children where the kernel has it, else by asking every process for its
/// parent). Races with forks: repeat until nothing new is found. Allocates nothing.
/// @p one_thread: it is known to have no other thread than its first, which makes it cheaper.
template <class Visit>
Result<void> for_each_child(Pid parent, Visit&& visit, bool one_thread = false);

/// Entries of an open folder through getdents64: no allocation, unlike readdir(3).
/// @p visit(std::string_view name, bool folder) returns false to stop.
template <class Visit>
Result<void> for_each_entry(const Fd& dir, Visit&& visit);

std::optional<Pid> parse_pid(std::string_view digits);

/// Do numbers of processes mean the same to us as to the kernel itself: are we in the initial PID
/// namespace? What drivers print and count are numbers of that one.
bool pids_are_the_kernels();

namespace detail {
using Callback = bool (*)(void* context, std::string_view name, bool folder);
using PidCallback = void (*)(void* context, Pid pid);
using TextCallback = bool (*)(void* context, std::string_view text);
Result<void> each_entry(const Fd& dir, Callback callback, void* context);
void each_variable(Pid pid, TextCallback callback, void* context);
Result<void> each_process(PidCallback callback, void* context);
Result<void> each_child(Pid parent, PidCallback callback, void* context, bool one_thread);
}  // namespace detail

template <class Visit>
Result<void> for_each_entry(const Fd& dir, Visit&& visit) {
  return detail::each_entry(
      dir,
      [](void* context, std::string_view name, bool folder) {
        return (*static_cast<Visit*>(context))(name, folder);
      },
      &visit);
}
template <class Visit>
void for_each_variable(Pid pid, Visit&& visit) {
  detail::each_variable(
      pid,
      [](void* context, std::string_view text) {
        return (*static_cast<std::remove_reference_t<Visit>*>(context))(text);
      },
      &visit);
}
template <class Visit>
Result<void> for_each_process(Visit&& visit) {
  return detail::each_process([](void* context, Pid pid) { (*static_cast<Visit*>(context))(pid); },
                              &visit);
}
template <class Visit>
Result<void> for_each_child(Pid parent, Visit&& visit, bool one_thread) {
  return detail::each_child(
      parent,
      [](void* context, Pid pid) { (*static_cast<std::remove_reference_t<Visit>*>(context))(pid); },
      &visit, one_thread);
}

}  // namespace gpuward::os
