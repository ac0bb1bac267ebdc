// On SIGUSR1 prints CLOCK_MONOTONIC in nanoseconds as its last act before _exit: the begin of the
// path "exit of main seen" of `make bench-core`. The child it leaves, whose pid it prints first,
// ignores TERM: so the tree stays in the state that the end of main has brought it to.

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>

int main() {
  sigset_t usr1;
  ::sigemptyset(&usr1);
  ::sigaddset(&usr1, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &usr1, nullptr);
  const pid_t child = ::fork();
  if (child < 0) return 1;
  if (child == 0) {
    std::signal(SIGTERM, SIG_IGN);
    std::printf("%d\n", ::getpid());
    std::fflush(stdout);
    for (;;) ::pause();
  }
  int got = 0;
  ::sigwait(&usr1, &got);
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  std::printf("%lld\n", static_cast<long long>(at.tv_sec) * 1'000'000'000 + at.tv_nsec);
  std::fflush(stdout);
  ::_exit(0);
}
