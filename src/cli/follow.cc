#include "cli/follow.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace gpuward::cli {

Result<LogFollower> LogFollower::at_end(const std::string& path) {
  LogFollower follower;
  const os::Fd here;
  auto file = os::Fd::open_regular_at(here, path.c_str(), O_RDWR | O_CREAT | O_APPEND, 0640);
  if (!file) file = os::Fd::open_regular_at(here, path.c_str(), O_RDONLY);
  if (!file) return fail(std::move(file).error());
  follower.file_ = std::move(*file);
  ::lseek(follower.file_.get(), 0, SEEK_END);
  follower.watch_ = os::Fd::take(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!follower.watch_) return fail(last_error("watch", path));
  if (::inotify_add_watch(follower.watch_.get(), path.c_str(), IN_MODIFY) < 0)
    return fail(last_error("watch", path));
  return follower;
}

Result<LogFollower> LogFollower::before_end(const std::string& path, std::size_t lines) {
  auto follower = at_end(path);
  if (!follower) return follower;
  off_t at = ::lseek(follower->file_.get(), 0, SEEK_END);
  std::size_t seen = 0;
  std::array<char, 8192> buffer;
  while (at > 0) {
    const auto size = std::min<off_t>(at, buffer.size());
    const ssize_t n =
        ::pread(follower->file_.get(), buffer.data(), static_cast<std::size_t>(size), at - size);
    if (n <= 0) break;
    ssize_t cut = n;
    // Line feed number `lines` + 1 from the end is where they begin: the first ends the last line.
    while (cut > 0 && (buffer[static_cast<std::size_t>(cut - 1)] != '\n' || seen++ < lines)) --cut;
    if (cut > 0) {
      at = at - size + cut;
      break;
    }
    at -= size;
  }
  ::lseek(follower->file_.get(), at, SEEK_SET);
  return follower;
}

void LogFollower::print_new() {
  std::array<char, 4096> events;
  while (::read(watch_.get(), events.data(), events.size()) > 0) {
  }
  std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t n = ::read(file_.get(), buffer.data(), buffer.size());
    if (n <= 0) return;
    for (ssize_t done = 0; done < n;) {
      const ssize_t written =
          ::write(STDOUT_FILENO, buffer.data() + done, static_cast<std::size_t>(n - done));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) break;
      done += written;
    }
  }
}

}  // namespace gpuward::cli
