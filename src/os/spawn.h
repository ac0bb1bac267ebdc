#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/cgroup.h"
#include "os/fd.h"
#include "os/pid_namespace.h"
#include "os/process.h"
#include "os/rights.h"

namespace gpuward::os {

/// What a new process does between clone and exec, in this order. A failure names its step.
enum class SpawnStep : std::uint8_t {
  clone = 0,
  enter_cgroup = 1,
  wait_for_go = 2,  ///< the parent died before the record was written
  new_session = 3,
  change_directory = 4,
  stdio = 5,
  execute = 6,
  set_limits = 8,
  set_oom_score_adj = 9,
  set_nice = 10,
  change_user = 11,
  set_capabilities = 12,
  join_limits = 13,  ///< the parent's: it could not move the child into the groups of its limits
  reach_temp_folder = 14,
  make_namespace = 15,   ///< the parent's
  open_sockets = 17,     ///< the parent's: what main is to be handed
  enter_namespace = 16,  ///< of the process in between
  write_record = 7,      ///< the parent's: it could not, and the child, which waited, was let end
};
/// "enter the cgroup", "change to its directory", "execute": for messages.
std::string_view to_string(SpawnStep step);

struct SpawnPlan {
  const char* const* argv = nullptr;  ///< null-terminated; argv[0] is looked up in the PATH of envp
  const char* const* envp = nullptr;
  const char* directory = nullptr;    ///< null: stays where the parent is
  int in = -1;                        ///< -1: /dev/null
  int out = -1;                       ///< required
  int err = -1;                       ///< required
  const Cgroup* cgroup = nullptr;     ///< null or empty: none
  const Rights* rights = nullptr;     ///< null: as the parent's
  const char* temp_folder = nullptr;  ///< must be writable as its user; null: nothing is asked
  const PidNamespace* pid_namespace = nullptr;  ///< null or empty: the parent's
  std::span<const int> handed{};  ///< become 3, 4 ... of the child; at most kMostHandedOver
  char* listen_pid = nullptr;     ///< where in envp its own pid is written: 12 bytes of room
};
inline constexpr std::size_t kMostHandedOver = 64;

struct SpawnFailure {
  SpawnStep step = SpawnStep::clone;
  int errno_value = 0;
};

/// A child that exists, is inside its cgroup, and waits for go() before it execs: whatever must be
/// on disk about it can be written first. Destroying the object without go() ends the child.
class Spawning {
 public:
  /// The child gets an empty signal mask, default handlers, a session of its own. Single-threaded
  /// callers only: the child is a raw clone3 that runs no atfork handlers.
  static std::expected<Spawning, SpawnFailure> begin(const SpawnPlan& plan);

  const Process& process() const { return process_; }
  /// Lets the child exec. Returns the descriptor to poll: EOF = exec succeeded, else a
  /// SpawnFailure.
  Fd go();
  Process take_process() { return std::move(process_); }

 private:
  Process process_;
  Fd gate_;
  Fd report_;
};

enum class ExecState : std::uint8_t { pending, done, failed };
/// Reads the descriptor that go() returned without blocking.
ExecState read_exec_report(const Fd& report, SpawnFailure* failure);

/// Starts a program of ours detached from this one: own session, own process group, stdio given.
/// Returns once exec has succeeded. Used for anchors, the warden and the sentinel. The child's
/// descriptor 3 is @p handed (kept open over exec) if it is not empty.
struct ProgramPlan {
  std::string path;
  std::vector<std::string> args;    ///< without argv[0]
  int in = -1, out = -1, err = -1;  ///< -1: /dev/null
  const Fd* handed = nullptr;
  bool new_session = true;
  int parent_death_signal = 0;
  /// The whole environment, "NAME=VALUE"; null: as this program's.
  const std::vector<std::string>* environment = nullptr;
  /// A command of somebody else's: `path` without a '/' is looked up in the PATH of `environment`,
  /// and nobody waits until it was found and executed; where that fails it ends with code 127.
  bool foreign = false;
};
Result<Process> start_program(const ProgramPlan& plan);

/// Lets this process open as many files as its hard limit says. What start_program() starts has the
/// former limit again: a service may choke on a million descriptors that it could have, select(2).
void raise_file_limit();

/// Runs @p path to its end and returns what it printed, at most 64 KiB. Errors: not_found when it
/// ended with another code than 0, timed_out (it is killed), as exec(2).
Result<std::string> run_and_read(const std::string& path, std::vector<std::string> args,
                                 Instant deadline);

/// The absolute path of a program of ours: beside the running one, whatever PATH says.
Result<std::string> sibling_program(std::string_view name);

}  // namespace gpuward::os
