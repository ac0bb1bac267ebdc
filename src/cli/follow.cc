#include "cli/follow.h"

#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace gpuward::cli {
namespace {

constexpr int kMostFiles = 1000;
constexpr int kMostFree = 2;    // numbers below the oldest file
constexpr int kAttempts = 100;  // while it is rotated again and again

std::string numbered(const std::string& path, int number) {
  return number == 0 ? path : path + "." + std::to_string(number);
}

Result<os::Fd> open_log(const std::string& path, int flags) {
  return os::Fd::open_regular_at(os::Fd(), path.c_str(), flags, 0640);
}

// Puts @p file to where its last @p lines begin. @return how many it does not have.
std::size_t seek_back(const os::Fd& file, std::size_t lines) {
  off_t at = ::lseek(file.get(), 0, SEEK_END);
  std::size_t seen = 0;
  std::array<char, 8192> buffer;
  while (at > 0) {
    const auto size = std::min<off_t>(at, buffer.size());
    const ssize_t n = ::pread(file.get(), buffer.data(), static_cast<std::size_t>(size), at - size);
    if (n <= 0) break;
    ssize_t cut = n;
    // Line feed number `lines` + 1 from the end is where they begin: the first ends the last line.
    while (cut > 0 && (buffer[static_cast<std::size_t>(cut - 1)] != '\n' || seen++ < lines)) --cut;
    at = at - size + cut;
    if (cut > 0) break;
  }
  ::lseek(file.get(), at, SEEK_SET);
  return at > 0 || seen >= lines ? 0 : lines - seen;
}

}  // namespace

Result<LogFollower> LogFollower::at_end(const std::string& path) {
  LogFollower follower;
  follower.path_ = path;
  auto file = open_log(path, O_RDWR | O_CREAT | O_APPEND);
  if (!file) file = open_log(path, O_RDONLY);
  if (!file) return fail(std::move(file).error());
  follower.file_ = std::move(*file);
  ::lseek(follower.file_.get(), 0, SEEK_END);
  follower.watch_ = os::Fd::take(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!follower.watch_) return fail(last_error("watch", path));
  const std::string folder = path.substr(0, path.rfind('/'));
  if (::inotify_add_watch(follower.watch_.get(), folder.c_str(), IN_CREATE | IN_MOVED_TO) < 0)
    return fail(last_error("watch", folder));
  follower.watch_file();
  return follower;
}

Result<LogFollower> LogFollower::before_end(const std::string& path, std::size_t lines) {
  auto follower = at_end(path);
  if (!follower) return follower;
  const std::size_t missing = seek_back(follower->file_, lines);
  if (missing == 0) return follower;
  auto older = open_log(numbered(path, 1), O_RDONLY);
  if (!older) return follower;  // there is no more
  (void)seek_back(*older, missing);
  follower->file_ = std::move(*older);
  return follower;
}

void LogFollower::watch_file() {
  // Should it be gone again already, its successor's creation tells.
  (void)::inotify_add_watch(watch_.get(), path_.c_str(), IN_MODIFY);
}

// The number under which @p file stands now; nullopt: under none. A rotation moves files only up,
// so that looking up from the newest cannot pass it by; while it is under way a number may be free.
std::optional<int> LogFollower::number_of(const struct stat& file) const {
  int free = 0;
  for (int number = 0; number < kMostFiles && free <= kMostFree; ++number) {
    struct stat there{};
    if (::stat(numbered(path_, number).c_str(), &there) < 0)
      ++free;
    else if (there.st_ino == file.st_ino && there.st_dev == file.st_dev)
      return number;
  }
  return std::nullopt;
}

// The file that was begun after ours; empty when ours is the present one, or that is yet to come.
os::Fd LogFollower::next_file() const {
  struct stat ours{};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::fstat(file_.get(), &ours) < 0) return {};
    const auto number = number_of(ours);
    if (number == 0) return {};
    if (!number && ours.st_nlink == 0) break;  // deleted
    if (!number) continue;
    auto next = open_log(numbered(path_, *number - 1), O_RDONLY);
    // Where ours stands still, the other has not been moved on meanwhile either.
    if (number_of(ours) != number) continue;
    return next ? std::move(*next) : os::Fd();
  }
  auto present = open_log(path_, O_RDONLY);  // ours was deleted, or moved to another name
  return present ? std::move(*present) : os::Fd();
}

// Copies all that there is in our file.
void LogFollower::copy() const {
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

void LogFollower::print_new() {
  std::array<char, 4096> events;
  bool woken = false;
  while (::read(watch_.get(), events.data(), events.size()) > 0) woken = true;
  if (woken) watch_file();
  for (;;) {
    copy();
    auto next = next_file();
    if (!next) return;
    copy();  // what was written to ours between our last look and its end
    file_ = std::move(next);
  }
}

}  // namespace gpuward::cli
