#include "os/aside.h"

#include <linux/magic.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include "os/clock.h"
#include "os/fd.h"

namespace gpuward::os {
namespace {

constexpr std::size_t kMost = 1 << 20;
constexpr char kEnd = '\0';  // the last byte of a whole answer: a child that died wrote none

Result<std::string> read_answer(const Fd& from, Instant deadline) {
  std::string answer;
  std::array<char, 16 << 10> part;
  while (answer.size() <= kMost) {
    pollfd item{from.get(), POLLIN, 0};
    const int ready = ::poll(&item, 1, poll_timeout(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(Errc::timed_out, "look aside");
    const ssize_t n = ::read(from.get(), part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    answer.append(part.data(), static_cast<std::size_t>(n));
    if (answer.back() != kEnd) continue;
    answer.pop_back();
    return answer;
  }
  return fail(Errc::unreachable, "look aside");
}

}  // namespace

Result<std::string> run_aside(const std::function<std::string()>& work, Instant deadline) {
  auto pipe = make_pipe();
  if (!pipe) return fail(std::move(pipe).error());
  const pid_t child = ::fork();
  if (child < 0) return fail(last_error("fork"));
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::signal(SIGPIPE, SIG_IGN);
    pipe->read.close();
    std::string answer = work();
    if (answer.size() > kMost) answer.resize(kMost);
    std::erase(answer, kEnd);
    answer.push_back(kEnd);
    ::_exit(write_all(pipe->write, answer, "an answer") ? 0 : 1);
  }
  pipe->write.close();
  auto answer = read_answer(pipe->read, deadline);
  // Our own child, not reaped: the number is still its own.
  if (!answer) ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, answer ? 0 : WNOHANG);
  return answer;
}

Result<Space> space_of(const std::string& path) {
  std::string folder = path.empty() ? "/" : path;
  struct statvfs info{};
  while (::statvfs(folder.c_str(), &info) < 0) {
    if ((errno != ENOENT && errno != ENOTDIR) || folder == "/")
      return fail(last_error("ask the file system of", path));
    const auto slash = folder.rfind('/');
    if (slash == std::string::npos) return fail(last_error("ask the file system of", path));
    folder.resize(std::max<std::size_t>(1, slash));
  }
  Space space;
  space.free = {info.f_bavail * info.f_frsize};
  space.size = {info.f_blocks * info.f_frsize};
  space.files = info.f_files;
  space.files_free = info.f_favail;
  struct statfs kind{};
  if (::statfs(folder.c_str(), &kind) == 0)
    space.in_memory = kind.f_type == TMPFS_MAGIC || kind.f_type == RAMFS_MAGIC;
  return space;
}

}  // namespace gpuward::os
