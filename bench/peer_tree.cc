// peer_tree KIND FOLDER: a main with five children in its session, for bench/peers.py. Its first
// act is to read CLOCK_MONOTONIC; each process appends "KIND PID NANOSECONDS" to FOLDER/began
// (KIND: main or child) and holds FOLDER/alive, a FIFO, open for writing: its reader sees the last
// death. KIND `deaf` ignores TERM.

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>

namespace {

void tell(const std::string& folder, const char* what, std::int64_t at) {
  const std::string line =
      std::string(what) + " " + std::to_string(::getpid()) + " " + std::to_string(at) + "\n";
  const int file =
      ::open((folder + "/began").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || ::write(file, line.data(), line.size()) < 0) ::_exit(1);
  ::close(file);
}

}  // namespace

int main(int argc, char** argv) {
  timespec at{};
  ::clock_gettime(CLOCK_MONOTONIC, &at);
  if (argc < 3) return 2;
  const std::string folder = argv[2];
  if (std::string_view(argv[1]) == "deaf") std::signal(SIGTERM, SIG_IGN);
  if (::open((folder + "/alive").c_str(), O_WRONLY | O_NONBLOCK) < 0) return 1;
  tell(folder, "main", static_cast<std::int64_t>(at.tv_sec) * 1'000'000'000 + at.tv_nsec);
  for (int n = 0; n < 5; ++n) {
    if (::fork() != 0) continue;
    tell(folder, "child", 0);
    break;
  }
  for (;;) ::pause();
}
