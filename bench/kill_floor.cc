// The bare floor of ending a tree, for `make bench-supervise`.
//
//   kill_floor tree N           is a tree: N children that ignore TERM, each in a session of its
//   own;
//                               prints "up" when all of them do
//   kill_floor end N CGROUP     starts `tree N` in the new cgroup2 CGROUP and ends it with nothing
//   but
//                               freeze, one cgroup.kill write, reaping, "populated 0"; prints the
//                               nanoseconds of that
//
// No ladder, no record, no log, no receipt: what the kernel itself needs.

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>

namespace {

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::int64_t now_ns() {
  timespec at{};
  ::clock_gettime(CLOCK_MONOTONIC, &at);
  return static_cast<std::int64_t>(at.tv_sec) * 1'000'000'000 + at.tv_nsec;
}

int be_tree(int count) {
  ::signal(SIGTERM, SIG_IGN);
  std::array<int, 2> ready{};
  if (::pipe(ready.data()) < 0) die("pipe");
  for (int n = 0; n < count; ++n) {
    const pid_t child = ::fork();
    if (child < 0) die("fork");
    if (child != 0) continue;
    ::setsid();
    if (::write(ready[1], "c", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  for (int n = 0; n < count; ++n) {
    char one = 0;
    if (::read(ready[0], &one, 1) != 1) die("read");
  }
  std::puts("up");
  std::fflush(stdout);
  for (;;) ::pause();
}

void write_file(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::write(fd, text.data(), text.size()) < 0) die(path.c_str());
  ::close(fd);
}

bool populated(int events) {
  std::array<char, 128> buffer{};
  const ssize_t n = ::pread(events, buffer.data(), buffer.size(), 0);
  if (n < 0) die("cgroup.events");
  return std::string_view(buffer.data(), static_cast<std::size_t>(n)).find("populated 1") !=
         std::string_view::npos;
}

// @return the read end of what the tree prints.
int start_tree(const std::string& group, int count) {
  std::array<int, 2> out{};
  if (::pipe(out.data()) < 0) die("pipe");
  const int dir = ::open(group.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) die(group.c_str());
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<std::uint64_t>(dir);
  const long child = ::syscall(SYS_clone3, &args, sizeof args);
  if (child < 0) die("clone3");
  if (child == 0) {
    ::dup2(out[1], STDOUT_FILENO);
    std::exit(be_tree(count));
  }
  ::close(out[1]);
  ::close(dir);
  return out[0];
}

int end_tree(int count, const std::string& group) {
  if (::mkdir(group.c_str(), 0755) < 0) die(group.c_str());
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die("prctl");
  const int out = start_tree(group, count);
  std::array<char, 3> word{};
  if (::read(out, word.data(), word.size()) <= 0) die("the tree did not come up");
  const int events = ::open((group + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC);
  if (events < 0) die("cgroup.events");

  const std::int64_t began = now_ns();
  write_file(group + "/cgroup.freeze", "1");
  write_file(group + "/cgroup.kill", "1");
  while (::wait(nullptr) > 0 || errno == EINTR) {
  }
  while (populated(events)) {
    pollfd item{events, POLLPRI, 0};
    (void)::poll(&item, 1, 1000);
  }
  std::printf("%lld\n", static_cast<long long>(now_ns() - began));
  return ::rmdir(group.c_str()) == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "tree" && argc == 3) return be_tree(std::atoi(argv[2]));
  if (what == "end" && argc == 4) return end_tree(std::atoi(argv[2]), argv[3]);
  std::fputs("usage: kill_floor tree N | end N CGROUP\n", stderr);
  return 2;
}
