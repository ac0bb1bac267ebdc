// innocent LOG PID...: makes one process with exactly each of these numbers (clone3 with set_tid),
// which must be free by now. Prints "born" when all live. Each writes a line into LOG for every
// signal that reaches it, and ends with its parent, which ends when its input does. Ends with 77
// where the right to choose a number is missing (CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN).

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace {

int log_fd = -1;

void note(int number) {
  std::array<char, 32> line{};
  const int size = std::snprintf(line.data(), line.size(), "signal %d\n", number);
  (void)!::write(log_fd, line.data(), static_cast<std::size_t>(size));
}

[[noreturn]] void stand_by() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int number = 1; number < NSIG; ++number)
    if (number != SIGKILL && number != SIGSTOP) std::signal(number, note);
  for (;;) ::pause();
}

// A number is free when its last owner has been reaped, which may be a moment away.
bool bear(pid_t wanted) {
  clone_args args{};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
  args.set_tid_size = 1;
  for (int attempt = 0; attempt < 5000; ++attempt) {
    const long child = ::syscall(SYS_clone3, &args, sizeof args);
    if (child == 0) stand_by();
    if (child > 0) return true;
    if (errno == EPERM || errno == ENOSYS) ::_exit(77);
    if (errno != EEXIST) return false;
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  log_fd = ::open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  for (int at = 2; at < argc; ++at)
    if (!bear(std::atoi(argv[at]))) {
      std::perror(argv[at]);
      return 1;
    }
  std::puts("born");
  std::fflush(stdout);
  char byte = 0;
  while (::read(0, &byte, 1) > 0 || errno == EINTR) errno = 0;
}
