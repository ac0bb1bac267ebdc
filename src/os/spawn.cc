#include "os/spawn.h"

#include <linux/sched.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <optional>

#include "os/clock.h"
#include "os/kernel.h"

namespace gpuward::os {
namespace {

constexpr int kBetweenMs = 10'000;        // for a fork on a machine that swaps
constexpr int kMostDescriptors = 65'536;  // looked at one by one on old kernels

[[noreturn]] void give_up(int report, SpawnStep step, int errno_value) {
  const SpawnFailure failure{step, errno_value};
  (void)!::write(report, &failure, sizeof failure);
  ::_exit(127);
}

// By the raw call: glibc's sigaction refuses 32 and 33, which its threads use, and a child would
// inherit them ignored from whoever started us.
void reset_signals() {
  constexpr std::array<std::uint64_t, 4>
      kPlain{};  // handler, flags, restorer, mask of the kernel's
  constexpr std::size_t kMaskBytes = 8;
  for (int number = 1; number < NSIG; ++number)
    ::syscall(SYS_rt_sigaction, number, kPlain.data(), nullptr, kMaskBytes);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// What the caller had open is not for programs that outlive it: a lock would be held for ever.
void close_on_exec_from(int first) {
  constexpr unsigned kCloexec = 4;  // CLOSE_RANGE_CLOEXEC, 5.11
  if (::syscall(SYS_close_range, first, ~0U, kCloexec) == 0) return;
  rlimit limit{};
  const bool known = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < kMostDescriptors;
  const int end = known ? static_cast<int>(limit.rlim_cur) : kMostDescriptors;
  for (int fd = first; fd < end; ++fd) (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

bool wait_at(int gate) {
  char go = 0;
  ssize_t n = 0;
  do n = ::read(gate, &go, 1);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

bool place_stdio(int from, int to) {
  // dup2 onto itself would keep close-on-exec; ours are all from 3 up, so from == to cannot happen.
  return ::dup2(from, to) == to;
}

// Theirs may stand where others are to be, and so may @p report: all go above first.
bool place_handed(const SpawnPlan& plan, int& report) {
  if (plan.handed.empty()) return true;
  const int above = 3 + static_cast<int>(plan.handed.size());
  std::array<int, kMostHandedOver> from{};
  if (plan.handed.size() > from.size()) return false;
  const int moved = ::fcntl(report, F_DUPFD_CLOEXEC, above);
  if (moved < 0) return false;
  report = moved;
  for (std::size_t n = 0; n < plan.handed.size(); ++n) {
    from[n] = ::fcntl(plan.handed[n], F_DUPFD_CLOEXEC, above);
    if (from[n] < 0) return false;
  }
  for (std::size_t n = 0; n < plan.handed.size(); ++n)
    if (!place_stdio(from[n], 3 + static_cast<int>(n))) return false;
  return true;
}

// Decimal digits and a NUL; a pid has at most ten.
void write_own_pid(char* into) {
  char digits[11];
  int count = 0;
  for (pid_t rest = ::getpid(); rest > 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  while (count > 0) *into++ = digits[--count];
  *into = '\0';
}

SpawnStep step_of(RightsStep step) {
  switch (step) {
    case RightsStep::limits:
      return SpawnStep::set_limits;
    case RightsStep::oom_score_adj:
      return SpawnStep::set_oom_score_adj;
    case RightsStep::nice:
      return SpawnStep::set_nice;
    case RightsStep::user:
      return SpawnStep::change_user;
    case RightsStep::capabilities:
    case RightsStep::none:
      break;
  }
  return SpawnStep::set_capabilities;
}

// After clone: only async-signal-safe calls. The parent has one thread, so the heap is sane, but a
// child that allocates would still dirty pages it shares.
[[noreturn]] void become(const SpawnPlan& plan, int gate, int report) {
  reset_signals();
  if (!wait_at(gate)) give_up(report, SpawnStep::wait_for_go, EPIPE);
  if (::setsid() < 0) give_up(report, SpawnStep::new_session, errno);
  if (plan.rights != nullptr) {
    const auto failed = take_rights(*plan.rights);
    if (failed != RightsStep::none) give_up(report, step_of(failed), errno);
  }
  // Where it could not be used, libraries would quietly take /tmp instead.
  if (plan.temp_folder != nullptr && ::access(plan.temp_folder, W_OK | X_OK) < 0)
    give_up(report, SpawnStep::reach_temp_folder, errno);
  if (plan.directory != nullptr && ::chdir(plan.directory) < 0)
    give_up(report, SpawnStep::change_directory, errno);
  int in = plan.in;
  if (in < 0) in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (in < 0 || !place_stdio(in, 0) || !place_stdio(plan.out, 1) || !place_stdio(plan.err, 2))
    give_up(report, SpawnStep::stdio, errno);
  if (!place_handed(plan, report)) give_up(report, SpawnStep::stdio, errno);
  if (plan.listen_pid != nullptr) write_own_pid(plan.listen_pid);
  environ = const_cast<char**>(plan.envp);
  ::execvp(plan.argv[0], const_cast<char* const*>(plan.argv));
  give_up(report, SpawnStep::execute, errno);
}

// A process in between enters the namespace and makes the child, whose parent is nevertheless this
// one (CLONE_PARENT): so it is waited for here, and this process stays where it is. Where the one
// in between dies before it can tell, the child stays at the gate, which nobody opens: it ends.
std::expected<Pid, SpawnFailure> clone_into(const SpawnPlan& plan, clone_args args, const Fd& gate,
                                            int read_gate, int report) {
  auto told = make_pipe();
  if (!told) return std::unexpected(SpawnFailure{SpawnStep::clone, EMFILE});
  // CLONE_PIDFD's descriptor would be the other's; and with CLONE_PARENT its own signal is used.
  args.flags = (args.flags & ~std::uint64_t{CLONE_PIDFD}) | CLONE_PARENT;
  args.exit_signal = 0;
  const pid_t between = ::fork();
  if (between < 0) return std::unexpected(SpawnFailure{SpawnStep::clone, errno});
  if (between == 0) {
    SpawnFailure failure{SpawnStep::enter_namespace, 0};
    long child = -1;
    const auto& space = *plan.pid_namespace;
    if (::setns(space.first().poll_fd(), space.entry_flags()) == 0) {
      failure.step = SpawnStep::clone;
      child = ::syscall(SYS_clone3, &args, sizeof args);
    }
    if (child == 0) {
      ::close(gate.get());
      ::close(told->write.get());  // or the other's end would not be told
      become(plan, read_gate, report);
    }
    failure.errno_value = child < 0 ? errno : static_cast<int>(-child);
    (void)!::write(told->write.get(), &failure, sizeof failure);
    ::_exit(0);
  }
  told->write.close();
  SpawnFailure answer{SpawnStep::clone, EIO};
  pollfd item{told->read.get(), POLLIN, 0};
  if (::poll(&item, 1, kBetweenMs) == 0) ::kill(between, SIGKILL);  // ours, and not yet waited for
  const bool whole = ::read(told->read.get(), &answer, sizeof answer) == sizeof answer;
  while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!whole || answer.errno_value > 0) return std::unexpected(answer);
  return Pid{-answer.errno_value};
}

}  // namespace

std::string_view to_string(SpawnStep step) {
  switch (step) {
    case SpawnStep::clone:
      return "make a process";
    case SpawnStep::enter_cgroup:
      return "enter its cgroup";
    case SpawnStep::set_limits:
      return "set its limits";
    case SpawnStep::set_oom_score_adj:
      return "set its oom_score_adj";
    case SpawnStep::set_nice:
      return "set its nice value";
    case SpawnStep::change_user:
      return "change to its user";
    case SpawnStep::set_capabilities:
      return "set its capabilities";
    case SpawnStep::join_limits:
      return "apply its limits";
    case SpawnStep::reach_temp_folder:
      return "reach its temp folder";
    case SpawnStep::make_namespace:
      return "make a PID namespace";
    case SpawnStep::open_sockets:
      return "open its sockets";
    case SpawnStep::enter_namespace:
      return "enter its PID namespace";
    case SpawnStep::write_record:
      return "write its record";
    case SpawnStep::wait_for_go:
      return "wait for its record";
    case SpawnStep::new_session:
      return "make a session";
    case SpawnStep::change_directory:
      return "change to its directory";
    case SpawnStep::stdio:
      return "open its output";
    case SpawnStep::execute:
      return "execute";
  }
  return "start";
}

std::expected<Spawning, SpawnFailure> Spawning::begin(const SpawnPlan& plan) {
  auto gate = make_pipe();
  auto report = make_pipe(O_NONBLOCK);
  if (!gate || !report) return std::unexpected(SpawnFailure{SpawnStep::clone, EMFILE});
  const bool into = plan.cgroup != nullptr && *plan.cgroup && plan.cgroup->takes_clones() &&
                    kernel().clone_into_cgroup;
  int pidfd = -1;
  clone_args args{};
  args.exit_signal = SIGCHLD;
  if (kernel().pidfd) {
    args.flags |= CLONE_PIDFD;
    args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  }
  if (into) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = static_cast<std::uint64_t>(plan.cgroup->dir_fd());
  }
  const bool inside = plan.pid_namespace != nullptr && *plan.pid_namespace;
  const auto made = inside
                        ? clone_into(plan, args, gate->write, gate->read.get(), report->write.get())
                        : std::expected<Pid, SpawnFailure>(Pid{});
  if (!made) return std::unexpected(made.error());
  // A pidfd is close-on-exec from birth. Where clone3 is missing (ENOSYS: old kernels, sandboxes),
  // fork does; the child then enters the cgroup before it is let go.
  long child = inside ? made->number : ::syscall(SYS_clone3, &args, sizeof args);
  if (child < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL) && !into)
    child = ::fork();
  if (child < 0) return std::unexpected(SpawnFailure{SpawnStep::clone, errno});
  if (child == 0) {
    gate->write.close();
    become(plan, gate->read.get(), report->write.get());
  }
  Spawning spawning;
  spawning.gate_ = std::move(gate->write);
  spawning.report_ = std::move(report->read);
  const Pid pid{static_cast<pid_t>(child)};
  auto process =
      pidfd >= 0 && !inside ? Process::take_child(pid, Fd::take(pidfd)) : Process::open_child(pid);
  if (!process)
    return std::unexpected(SpawnFailure{SpawnStep::clone, process.error().code.value()});
  spawning.process_ = std::move(*process);
  if (plan.cgroup != nullptr && *plan.cgroup && !into) {
    auto entered = plan.cgroup->enter(pid);
    if (!entered)
      return std::unexpected(SpawnFailure{SpawnStep::enter_cgroup, entered.error().code.value()});
  }
  return spawning;
}

Fd Spawning::go() {
  const char go = 'g';
  (void)!::write(gate_.get(), &go, 1);  // a child that died meanwhile shows as its exit
  gate_.close();
  return std::move(report_);
}

ExecState read_exec_report(const Fd& report, SpawnFailure* failure) {
  SpawnFailure read{};
  const ssize_t n = ::read(report.get(), &read, sizeof read);
  if (n == 0) return ExecState::done;
  if (n == sizeof read) {
    *failure = read;
    return ExecState::failed;
  }
  return ExecState::pending;
}

namespace {
std::optional<rlimit> files_before;  // raise_file_limit()
}

void raise_file_limit() {
  rlimit now{};
  if (::getrlimit(RLIMIT_NOFILE, &now) < 0 || now.rlim_cur == now.rlim_max) return;
  const rlimit more{now.rlim_max, now.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &more) == 0 && !files_before) files_before = now;
}

Result<Process> start_program(const ProgramPlan& plan) {
  std::vector<char*> argv;
  argv.push_back(const_cast<char*>(plan.path.c_str()));
  for (const auto& arg : plan.args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> envp;
  if (plan.environment != nullptr) {
    for (const auto& variable : *plan.environment)
      envp.push_back(const_cast<char*>(variable.c_str()));
    envp.push_back(nullptr);
  }
  auto report = make_pipe();
  if (!report) return fail(std::move(report).error());
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return fail(last_error("start", plan.path));
  if (child == 0) {
    const int tell = report->write.get();
    reset_signals();
    if (plan.parent_death_signal != 0) {
      ::prctl(PR_SET_PDEATHSIG, plan.parent_death_signal);
      if (::getppid() != parent) ::_exit(127);
    }
    if (plan.new_session && ::setsid() < 0) give_up(tell, SpawnStep::new_session, errno);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    auto or_null = [&](int fd) { return fd < 0 ? null : fd; };
    // The handed descriptor moves to 3 last, but 3 may be the report or one of the stdio: lift
    // both.
    const int tell_high = ::fcntl(tell, F_DUPFD_CLOEXEC, 10);
    const int handed_high =
        plan.handed == nullptr ? -1 : ::fcntl(plan.handed->get(), F_DUPFD_CLOEXEC, 10);
    const int in = ::fcntl(or_null(plan.in), F_DUPFD_CLOEXEC, 10);
    const int out = ::fcntl(or_null(plan.out), F_DUPFD_CLOEXEC, 10);
    const int err = ::fcntl(or_null(plan.err), F_DUPFD_CLOEXEC, 10);
    if (null < 0 || tell_high < 0 || in < 0 || !place_stdio(in, 0) || !place_stdio(out, 1) ||
        !place_stdio(err, 2))
      give_up(tell, SpawnStep::stdio, errno);
    if (handed_high >= 0 && ::dup2(handed_high, 3) != 3)
      give_up(tell_high, SpawnStep::stdio, errno);
    close_on_exec_from(4);
    // Last: what is open beyond it stays, but nothing new can be opened there.
    if (files_before) (void)::setrlimit(RLIMIT_NOFILE, &*files_before);
    if (!envp.empty()) environ = envp.data();
    if (!plan.foreign) ::execv(plan.path.c_str(), argv.data());
    if (plan.foreign) ::execvp(plan.path.c_str(), argv.data());
    if (plan.foreign) ::_exit(127);
    give_up(tell_high, SpawnStep::execute, errno);
  }
  report->write.close();
  auto process = Process::open_child(Pid{child});
  if (plan.foreign) return process;
  SpawnFailure failure;
  const ExecState state = read_exec_report(report->read, &failure);
  if (state == ExecState::failed) {
    ::waitpid(child, nullptr, 0);
    Error error = error_from(failure.errno_value, to_string(failure.step), plan.path);
    return fail(error);
  }
  return process;
}

Result<std::string> run_and_read(const std::string& path, std::vector<std::string> args,
                                 Instant deadline) {
  auto pipe = make_pipe();
  if (!pipe) return fail(std::move(pipe).error());
  ProgramPlan plan;
  plan.path = path;
  plan.args = std::move(args);
  plan.out = pipe->write.get();
  plan.parent_death_signal = SIGKILL;
  auto process = start_program(plan);
  if (!process) return fail(std::move(process).error());
  pipe->write.close();
  std::string text;
  std::array<char, 4096> buffer;
  bool late = false;
  while (text.size() < (std::size_t{64} << 10)) {
    pollfd item{pipe->read.get(), POLLIN, 0};
    const int ready = ::poll(&item, 1, poll_timeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    late = ready == 0;
    if (late) break;
    const ssize_t n = ::read(pipe->read.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  if (late) (void)process->signal(SIGKILL);
  int status = 0;
  while (::waitpid(process->pid().number, &status, 0) < 0 && errno == EINTR) {
  }
  if (late) return fail(Errc::timed_out, "wait for " + path);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return fail(Errc::not_found, "ask " + path);
  return text;
}

Result<std::string> sibling_program(std::string_view name) {
  std::array<char, 4096> buffer{};
  const ssize_t n = ::readlink("/proc/self/exe", buffer.data(), buffer.size());
  if (n <= 0 || n == static_cast<ssize_t>(buffer.size()))
    return fail(last_error("read", "/proc/self/exe"));
  std::string path(buffer.data(), static_cast<std::size_t>(n));
  path.resize(path.rfind('/') + 1);
  path += name;
  if (::access(path.c_str(), X_OK) < 0) return fail(last_error("find", path));
  return path;
}

}  // namespace gpuward::os
