// member NAME KIND [PORT]: a service of four processes for tests/e2e/invariants.py, which knows of
// each by what the kernel takes back when it dies: record locks on NAME.locks in the current
// folder.
//
//   byte 0 main · 1, 2 its children · 3 an orphan in a session of its own
//
// A main that finds any of them held has an older copy beside it, and writes NAME to second-copy.
// It prints "up"; then KIND decides: `plain` listens on PORT, `deaf` ignores TERM in all four,
// `flaky` exits with 3 after 1.5 s, `chatty` prints "<PID.N>" with N = 1, 2, ... 100 times a second
// and keeps PID and the last N, two 64-bit numbers, in NAME.count.

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

constexpr off_t kMembers = 4;

struct flock part(off_t at, off_t length) {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = length;
  return lock;
}

void tell_of_second_copy(const std::string& name) {
  const int file = ::open("second-copy", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const std::string line = name + "\n";
  if (file < 0 || ::write(file, line.data(), line.size()) < 0) std::abort();
  ::close(file);
}

// Record locks belong to the process, and go when it closes any descriptor of the file.
void hold(const std::string& name, off_t at) {
  const int file = ::open((name + ".locks").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  auto mine = part(at, 1);
  if (file < 0 || ::fcntl(file, F_SETLK, &mine) < 0) tell_of_second_copy(name);
}

void look_for_older(const std::string& name) {
  const int file = ::open((name + ".locks").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  auto all = part(0, kMembers);
  if (file < 0 || ::fcntl(file, F_GETLK, &all) < 0 || all.l_type != F_UNLCK)
    tell_of_second_copy(name);
  ::close(file);
}

[[noreturn]] void stay() {
  for (;;) ::pause();
}

void start_children(const std::string& name) {
  for (off_t at = 1; at < kMembers; ++at) {
    std::array<int, 2> held{};
    if (::pipe2(held.data(), O_CLOEXEC) < 0) std::abort();
    if (::fork() == 0) {
      const bool orphan = at == kMembers - 1;
      if (orphan && (::setsid() < 0 || ::fork() != 0)) ::_exit(0);
      hold(name, at);
      (void)!::write(held[1], "h", 1);
      stay();
    }
    ::close(held[1]);
    char one = 0;
    (void)!::read(held[0], &one, 1);  // nobody is told "up" before all hold their locks
    ::close(held[0]);
  }
}

[[noreturn]] void chat(const std::string& name) {
  const int count = ::open((name + ".count").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  std::array<std::uint64_t, 2> said = {static_cast<std::uint64_t>(::getpid()), 0};
  for (;;) {
    ++said[1];
    std::printf("<%llu.%llu>\n", static_cast<unsigned long long>(said[0]),
                static_cast<unsigned long long>(said[1]));
    std::fflush(stdout);
    if (::pwrite(count, said.data(), sizeof said, 0) != sizeof said) std::abort();
    ::usleep(10'000);
  }
}

[[noreturn]] void listen_on(int port) {
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
      ::listen(server, 16) < 0)
    std::exit(4);
  for (;;) ::close(::accept(server, nullptr, nullptr));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string name = argv[1];
  const std::string_view kind = argv[2];
  look_for_older(name);
  hold(name, 0);
  if (kind == "deaf") std::signal(SIGTERM, SIG_IGN);
  start_children(name);
  std::puts("up");
  std::fflush(stdout);
  if (kind == "chatty") chat(name);
  if (kind == "flaky") {
    ::usleep(1'500'000);
    return 3;
  }
  if (kind == "plain" && argc > 3) listen_on(std::atoi(argv[3]));
  stay();
}
