// Prints CLOCK_MONOTONIC in nanoseconds as its first act, then waits to be ended: the end of the
// path whose length `make bench-core` measures.

#include <unistd.h>

#include <cstdio>
#include <ctime>

int main() {
  timespec at{};
  clock_gettime(CLOCK_MONOTONIC, &at);
  std::printf("%lld\n", static_cast<long long>(at.tv_sec) * 1'000'000'000 + at.tv_nsec);
  std::fflush(stdout);
  for (;;) ::pause();
}
