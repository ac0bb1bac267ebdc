#include "os/kmsg.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace gpuward::os {
namespace {

constexpr unsigned kUserFacilities = 8;  // of syslog(3); the kernel's own is 0
constexpr std::uint32_t kFileEvents = IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF;
constexpr std::uint32_t kFolderEvents = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR;

bool take_number(std::string_view& text, char end, std::uint64_t& into) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), into);
  const auto used = static_cast<std::size_t>(parsed.ptr - text.data());
  if (parsed.ec != std::errc{} || used >= text.size() || text[used] != end) return false;
  text.remove_prefix(used + 1);
  return true;
}

std::optional<char> hex_escape(std::string_view text) {
  if (text.size() < 4 || text[0] != '\\' || text[1] != 'x') return std::nullopt;
  unsigned value = 0;
  const auto parsed = std::from_chars(text.data() + 2, text.data() + 4, value, 16);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + 4) return std::nullopt;
  return static_cast<char>(value);
}

std::string_view unescape(std::string_view text, std::span<char> buffer) {
  std::size_t size = 0;
  while (!text.empty() && size < buffer.size()) {
    const auto escaped = hex_escape(text);
    buffer[size++] = escaped.value_or(text.front());
    text.remove_prefix(escaped ? 4 : 1);
  }
  return {buffer.data(), size};
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::optional<KmsgRecord> parse_kmsg_record(std::string_view record, std::span<char> buffer) {
  KmsgRecord parsed;
  std::uint64_t priority = 0;
  std::uint64_t micros = 0;
  if (!take_number(record, ',', priority) || !take_number(record, ',', parsed.sequence) ||
      !take_number(record, ',', micros))
    return std::nullopt;
  const auto flags_end = record.find(';');  // flags, and fields that later kernels may add
  if (flags_end == record.npos || record.substr(0, flags_end).find('\n') != record.npos)
    return std::nullopt;
  record.remove_prefix(flags_end + 1);
  parsed.level = static_cast<std::uint8_t>(priority % kUserFacilities);
  parsed.from_kernel = priority < kUserFacilities;
  // Beyond that it is nonsense, and no clock can hold it.
  constexpr std::uint64_t kCentury = 3'200'000'000'000'000;
  parsed.since_boot = std::chrono::microseconds(std::min(micros, kCentury));
  parsed.text = unescape(record.substr(0, record.find('\n')), buffer);
  return parsed;
}

Result<Kmsg> Kmsg::open(const std::string& path, From from) {
  Kmsg kmsg;
  kmsg.path_ = path;
  struct stat info{};
  const bool there = ::stat(path.c_str(), &info) == 0;
  if (!there && errno != ENOENT) return fail(last_error("open", path));
  if (there && S_ISREG(info.st_mode) == 0) {
    kmsg.kind_ = S_ISFIFO(info.st_mode) ? Kind::fifo : Kind::device;
    // A FIFO that we could write to ourselves has no end when its last writer leaves.
    const int mode = kmsg.kind_ == Kind::fifo ? O_RDWR : O_RDONLY;
    auto log = Fd::open(path, mode | O_NONBLOCK | O_NOCTTY);
    if (!log) return fail(std::move(log).error());
    kmsg.log_ = std::move(*log);
    if (kmsg.kind_ == Kind::fifo) return kmsg;
    kmsg.catching_up_ = from == From::boot;
    if (from == From::now && ::lseek(kmsg.log_.get(), 0, SEEK_END) < 0)
      return fail(last_error("go to the end of", path));
    return kmsg;
  }
  kmsg.kind_ = Kind::file;
  kmsg.notify_ = Fd::take(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!kmsg.notify_) return fail(last_error("watch", path));
  // First the watch: what comes between it and the opening is not missed.
  if (::inotify_add_watch(kmsg.notify_.get(), folder_of(path).c_str(), kFolderEvents) < 0)
    return fail(last_error("watch the folder of", path));
  if (there) {
    auto log = Fd::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!log) return fail(std::move(log).error());
    kmsg.take_file(std::move(*log), true);
  }
  return kmsg;
}

Kmsg Kmsg::device_for_test(ReadCall read) {
  Kmsg kmsg;
  kmsg.read_call_ = read;
  kmsg.catching_up_ = true;
  return kmsg;
}

void Kmsg::take_file(Fd log, bool from_end) {
  if (file_watch_ >= 0) ::inotify_rm_watch(notify_.get(), file_watch_);
  file_watch_ = ::inotify_add_watch(notify_.get(), path_.c_str(), kFileEvents);
  log_ = std::move(log);
  begin_ = end_ = 0;
  skipping_ = false;
  if (from_end) (void)::lseek(log_.get(), 0, SEEK_END);
}

// Rotated: the name is another file's now. What was written into the old one has been read.
bool Kmsg::follow_rotation() {
  struct stat named{};
  struct stat open{};
  if (::stat(path_.c_str(), &named) < 0 || S_ISREG(named.st_mode) == 0) return false;
  if (log_ && ::fstat(log_.get(), &open) == 0 && open.st_dev == named.st_dev &&
      open.st_ino == named.st_ino) {
    const off_t at = ::lseek(log_.get(), 0, SEEK_CUR);
    if (at <= open.st_size) return false;
    (void)::lseek(log_.get(), 0, SEEK_SET);  // it was cut
    begin_ = end_ = 0;
    skipping_ = false;
    return true;
  }
  auto log = Fd::open(path_, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!log) return false;  // tried again when the name changes again
  take_file(std::move(*log), false);
  return true;
}

Result<std::optional<Kmsg::Entry>> Kmsg::next() {
  if (kind_ == Kind::device) return next_record();
  for (;;) {
    if (auto line = next_line()) return line;
    const auto more = fill();
    if (!more) return fail(more.error());
    if (*more) continue;
    if (kind_ == Kind::fifo) return std::nullopt;
    drain_notices();
    // Once more: what came between the end and the notices must not wait for the next ones.
    const auto late = fill();
    if (!late) return fail(late.error());
    if (!*late && !follow_rotation()) return std::nullopt;
  }
}

void Kmsg::drain_notices() {
  std::array<char, 4096> notices;
  while (::read(notify_.get(), notices.data(), notices.size()) > 0) {
  }
}

Result<std::optional<Kmsg::Entry>> Kmsg::next_record() {
  for (;;) {
    const auto call = read_call_ != nullptr ? read_call_ : ::read;
    const ssize_t n = call(log_.get(), read_.data(), read_.size());
    if (n < 0) {
      const int why = errno;
      if (why == EINTR) continue;
      if (why == EAGAIN) {
        catching_up_ = false;
        return std::nullopt;
      }
      if (why == EPIPE) {  // the next one tells by its number how many
        dropped_ = true;
        continue;
      }
      if (why == EINVAL) {  // longer than any should be
        ++lost_;
        ++expected_;
        continue;
      }
      return fail(error_from(why, "read", path_));
    }
    if (n == 0) return std::nullopt;  // no kernel does that
    const auto record =
        parse_kmsg_record(std::string_view(read_.data(), static_cast<std::size_t>(n)), text_);
    if (!record || record->sequence < first_wanted_) continue;
    count_missing(record->sequence);
    return entry_of(*record);
  }
}

void Kmsg::count_missing(std::uint64_t sequence) {
  if (std::exchange(dropped_, false))
    lost_ += numbered_ && sequence > expected_ ? sequence - expected_ : 1;
  expected_ = sequence + 1;
  numbered_ = true;
}

Kmsg::Entry Kmsg::entry_of(const KmsgRecord& record) const {
  Entry entry;
  entry.text = record.text;
  entry.whole_record = true;
  entry.from_kernel = record.from_kernel;
  entry.sequence = record.sequence;
  entry.since_boot = record.since_boot;
  entry.old = catching_up_;
  return entry;
}

// The next whole line of what was read.
std::optional<Kmsg::Entry> Kmsg::next_line() {
  for (;;) {
    const std::string_view held(read_.data() + begin_, end_ - begin_);
    const auto size = held.find('\n');
    if (size == held.npos) return std::nullopt;
    begin_ += size + 1;
    if (std::exchange(skipping_, false)) continue;
    const auto line = held.substr(0, size);
    if (const auto record = parse_kmsg_record(line, text_)) return entry_of(*record);
    Entry entry;
    entry.text = line;
    return entry;
  }
}

// @return whether anything came.
Result<bool> Kmsg::fill() {
  if (!log_) return false;
  if (begin_ > 0) std::memmove(read_.data(), read_.data() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
  if (end_ == read_.size()) {
    if (!std::exchange(skipping_, true)) ++lost_;
    end_ = 0;
  }
  for (;;) {
    const ssize_t n = ::read(log_.get(), read_.data() + end_, read_.size() - end_);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return false;
    if (n < 0) return fail(last_error("read", path_));
    end_ += static_cast<std::size_t>(n);
    return n > 0;
  }
}

}  // namespace gpuward::os
