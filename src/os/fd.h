#pragma once

#include <fcntl.h>

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace gpuward::os {

/// Owns one file descriptor. Move-only; -1 is the empty state. Every factory sets close-on-exec, so
/// nothing leaks into services.
class Fd {
 public:
  Fd() = default;
  /// Takes ownership of @p number, which must already be close-on-exec (or be meant to be
  /// inherited).
  static Fd take(int number) { return Fd(number); }
  /// open(2) with O_CLOEXEC added.
  static Result<Fd> open(const char* path, int flags, mode_t mode = 0);
  static Result<Fd> open(const std::string& path, int flags, mode_t mode = 0) {
    return open(path.c_str(), flags, mode);
  }
  /// openat(2) relative to @p dir, or the working folder when it is empty, with O_CLOEXEC added.
  static Result<Fd> open_at(const Fd& dir, const char* name, int flags, mode_t mode = 0);

  /// The same for a regular file, never waiting: EINVAL (or ENXIO) for a FIFO that was laid there.
  static Result<Fd> open_regular_at(const Fd& dir, const char* name, int flags, mode_t mode = 0);

  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      close();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { close(); }

  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  /// Gives up ownership.
  int release() { return std::exchange(number_, -1); }
  void close();
  /// A second descriptor of the same open file, from 3 up, close-on-exec.
  Result<Fd> duplicate() const;
  Result<void> set_nonblocking(bool on) const;
  Result<void> set_cloexec(bool on) const;

 private:
  explicit Fd(int number) : number_(number) {}
  int number_ = -1;
};

struct Pipe {
  Fd read;
  Fd write;
};
/// pipe2(2) with O_CLOEXEC and @p flags.
Result<Pipe> make_pipe(int flags = 0);

inline constexpr auto kDyingOwner = std::chrono::milliseconds(500);

/// Takes the whole-file lock of flock(2) for as long as @p file is open. Waits a moment: an owner
/// that was just killed holds it until the kernel has taken its files apart.
/// Errors: EWOULDBLOCK when somebody holds it still after @p patience.
Result<void> lock(const Fd& file, std::chrono::milliseconds patience = kDyingOwner);

/// Writes all of @p bytes, retrying on EINTR and short writes.
Result<void> write_all(const Fd& fd, std::span<const std::byte> bytes, std::string_view what);
Result<void> write_all(const Fd& fd, std::string_view text, std::string_view what);

/// Reads at most @p limit bytes of a file that may lie about its size (/proc, sysfs).
/// Errors: as open(2) and read(2); EFBIG when there is more than @p limit.
Result<std::string> read_file(const char* path, std::size_t limit = 1 << 20);
Result<std::string> read_file(const std::string& path, std::size_t limit = 1 << 20);
/// EINVAL for what is no regular file, ELOOP for a link: a FIFO laid there would be waited on.
Result<std::string> read_regular_at(const Fd& dir, const char* name, std::size_t limit = 1 << 20);

/// Reads into @p buffer without allocating; the view ends at the file's or the buffer's end.
Result<std::string_view> read_small(const char* path, std::span<char> buffer);
Result<std::string_view> read_small_at(const Fd& dir, const char* name, std::span<char> buffer);

/// Writes "NAME.new" and renames it to NAME: readers see the old or the new whole.
Result<void> replace_file_at(const Fd& dir, const char* name, std::span<const std::byte> bytes,
                             mode_t mode);

/// mkdir -p with @p mode for each folder made.
Result<void> make_directories(const std::string& path, mode_t mode);

}  // namespace gpuward::os
