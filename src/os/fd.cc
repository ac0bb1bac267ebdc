#include "os/fd.h"

#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

namespace gpuward::os {

Result<Fd> Fd::open(const char* path, int flags, mode_t mode) {
  const int number = ::open(path, flags | O_CLOEXEC, mode);
  if (number < 0) return fail(last_error("open", path));
  return Fd(number);
}

Result<Fd> Fd::open_at(const Fd& dir, const char* name, int flags, mode_t mode) {
  const int number = ::openat(dir ? dir.get() : AT_FDCWD, name, flags | O_CLOEXEC, mode);
  if (number < 0) return fail(last_error("open", name));
  return Fd(number);
}

Result<Fd> Fd::open_regular_at(const Fd& dir, const char* name, int flags, mode_t mode) {
  auto file = open_at(dir, name, flags | O_NONBLOCK, mode);
  struct stat info{};
  if (file && (::fstat(file->get(), &info) < 0 || !S_ISREG(info.st_mode)))
    return fail(error_from(EINVAL, "use as a file", name));
  return file;
}

void Fd::close() {
  if (number_ < 0) return;
  // Linux frees the number even when close reports EINTR, so it is never tried twice (close(2)).
  const int saved = errno;
  ::close(number_);
  errno = saved;
  number_ = -1;
}

Result<Fd> Fd::duplicate() const {
  const int number = ::fcntl(number_, F_DUPFD_CLOEXEC, 3);
  if (number < 0) return fail(last_error("duplicate a descriptor"));
  return Fd(number);
}

Result<void> Fd::set_nonblocking(bool on) const {
  const int flags = ::fcntl(number_, F_GETFL);
  if (flags < 0 || ::fcntl(number_, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
    return fail(last_error("set O_NONBLOCK"));
  return {};
}

Result<void> Fd::set_cloexec(bool on) const {
  if (::fcntl(number_, F_SETFD, on ? FD_CLOEXEC : 0) < 0) return fail(last_error("set FD_CLOEXEC"));
  return {};
}

Result<Pipe> make_pipe(int flags) {
  int ends[2];
  if (::pipe2(ends, flags | O_CLOEXEC) < 0) return fail(last_error("make a pipe"));
  return Pipe{Fd::take(ends[0]), Fd::take(ends[1])};
}

Result<void> write_all(const Fd& fd, std::span<const std::byte> bytes, std::string_view what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(last_error("write", what));
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Result<void> write_all(const Fd& fd, std::string_view text, std::string_view what) {
  return write_all(fd, std::as_bytes(std::span(text)), what);
}

namespace {

Result<std::string> read_all(const Fd& fd, const char* name, std::size_t limit) {
  std::string text;
  std::size_t filled = 0;
  text.resize(4096);
  for (;;) {
    const ssize_t n = ::read(fd.get(), text.data() + filled, text.size() - filled);
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(last_error("read", name));
    }
    if (n == 0) break;
    filled += static_cast<std::size_t>(n);
    if (filled > limit) return fail(error_from(EFBIG, "read", name));
    if (filled == text.size()) text.resize(text.size() * 2);
  }
  text.resize(filled);
  return text;
}

}  // namespace

Result<std::string> read_file(const char* path, std::size_t limit) {
  auto file = Fd::open(path, O_RDONLY);
  if (!file) return fail(std::move(file).error());
  return read_all(*file, path, limit);
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  return read_file(path.c_str(), limit);
}

Result<std::string> read_regular_at(const Fd& dir, const char* name, std::size_t limit) {
  auto file = Fd::open_regular_at(dir, name, O_RDONLY | O_NOFOLLOW);
  if (!file) return fail(std::move(file).error());
  return read_all(*file, name, limit);
}

Result<std::string_view> read_small(const char* path, std::span<char> buffer) {
  return read_small_at(Fd(), path, buffer);
}

Result<std::string_view> read_small_at(const Fd& dir, const char* name, std::span<char> buffer) {
  auto file = Fd::open_at(dir, name, O_RDONLY);
  if (!file) return fail(std::move(file).error());
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    const ssize_t n = ::read(file->get(), buffer.data() + filled, buffer.size() - filled);
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(last_error("read", name));
    }
    if (n == 0) break;
    filled += static_cast<std::size_t>(n);
  }
  return std::string_view(buffer.data(), filled);
}

Result<void> lock(const Fd& file, std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (::flock(file.get(), LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(last_error("lock"));
    if (std::chrono::steady_clock::now() >= until) return fail(error_from(EWOULDBLOCK, "lock"));
    ::poll(nullptr, 0, 2);
  }
  return {};
}

Result<void> replace_file_at(const Fd& dir, const char* name, std::span<const std::byte> bytes,
                             mode_t mode) {
  std::array<char, 1024> buffer{};
  const int length = std::snprintf(buffer.data(), buffer.size(), "%s.new", name);
  if (length < 0 || length >= static_cast<int>(buffer.size()))
    return fail(error_from(ENAMETOOLONG, "write", name));
  const char* fresh_name = buffer.data();
  {
    // Never through a link or into a file that somebody else laid there: the folder may be /tmp.
    constexpr int kFresh = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    auto file = Fd::open_at(dir, fresh_name, kFresh, mode);
    if (!file && file.error().code.value() == EEXIST) {  // of a writer that was killed
      ::unlinkat(dir.get(), fresh_name, 0);
      file = Fd::open_at(dir, fresh_name, kFresh, mode);
    }
    if (!file) return fail(std::move(file).error());
    GPUWARD_TRY(write_all(*file, bytes, fresh_name));
  }
  if (::renameat(dir.get(), fresh_name, dir.get(), name) < 0)
    return fail(last_error("rename to", name));
  return {};
}

Result<void> make_directories(const std::string& path, mode_t mode) {
  for (std::size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at);
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST)
      return fail(last_error("make folder", part));
    if (at != std::string::npos) ++at;
  }
  struct stat info{};
  if (::stat(path.c_str(), &info) < 0) return fail(last_error("stat", path));
  if (!S_ISDIR(info.st_mode)) return fail(error_from(ENOTDIR, "make folder", path));
  return {};
}

}  // namespace gpuward::os
