#include "anchor/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <ctime>

#include "os/clock.h"

namespace gpuward::anchor {
namespace {

constexpr auto kLookAgain = std::chrono::seconds(1);
constexpr std::uint64_t kLongestTail = 1 << 20;  // of a line without an end, beyond the size
constexpr double kSmallestBurst = 64 << 10;
constexpr std::uint64_t kMostFiles = 1000;

using Name = Text<300>;

Name numbered(const Text<256>& name, std::uint64_t number) {
  Name text(name.view());
  if (number != 0) text.append(".").append_number(static_cast<long long>(number));
  return text;
}

// Text is not NUL-terminated by itself.
template <std::size_t N>
struct CString {
  explicit CString(const Text<N>& text) { text.view().copy(bytes, text.size()); }
  char bytes[N + 1] = {};
};

// By a path on the stack: this is done while a service runs, too.
Result<os::Fd> open_folder(const std::string& path) {
  char folder[PATH_MAX] = "/";
  const auto slash = path.rfind('/');
  if (slash >= sizeof folder) return fail(error_from(ENAMETOOLONG, "open the folder of", path));
  if (slash != 0) path.copy(folder, slash);
  return os::Fd::open(folder, O_PATH | O_DIRECTORY);
}

// By the calendar of the library: gmtime_r(3) looks for a time zone first, which allocates.
Text<32> time_text(WallTime time) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(time);
  const auto day = std::chrono::floor<std::chrono::days>(ms);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(ms - day);
  Text<32> text;
  const auto number = [&](long long value, int digits, char after) {
    for (long long most = digits == 4   ? 1000
                          : digits == 3 ? 100
                                        : 10;
         most > value && most > 1; most /= 10)
      text.append('0');
    text.append_number(value).append(after);
  };
  number(static_cast<int>(date.year()), 4, '-');
  number(static_cast<unsigned>(date.month()), 2, '-');
  number(static_cast<unsigned>(date.day()), 2, 'T');
  number(clock.hours().count(), 2, ':');
  number(clock.minutes().count(), 2, ':');
  number(clock.seconds().count(), 2, '.');
  number(clock.subseconds().count(), 3, 'Z');
  return text.append(' ');
}

}  // namespace

Result<os::Fd> LogFile::open_current() const {
  const CString path(name_);
  auto file =
      os::Fd::open_at(folder_, path.bytes, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0640);
  struct stat info{};
  if (file && (::fstat(file->get(), &info) < 0 || S_ISFIFO(info.st_mode)))
    return fail(error_from(EINVAL, "use as a log", path.bytes));
  return file;
}

Result<LogFile> LogFile::open(const std::string& path, const LogPolicy& policy) {
  LogFile log;
  log.policy_ = policy;
  log.path_ = path;
  auto folder = open_folder(path);
  if (!folder) return fail(std::move(folder).error());
  log.folder_ = std::move(*folder);
  log.name_ = Text<256>(std::string_view(path).substr(path.rfind('/') + 1));
  auto file = log.open_current();
  if (!file) return fail(std::move(file).error());
  struct stat info{};
  if (::fstat(file->get(), &info) < 0) return fail(last_error("stat", path));
  log.file_ = std::move(*file);
  log.plain_ = S_ISREG(info.st_mode);
  log.size_ = log.plain_ ? static_cast<std::uint64_t>(info.st_size) : 0;
  if (log.plain_) log.remove_old();
  return log;
}

// Whoever moved or deleted the file (logrotate, a person) expects the next line in a new one.
void LogFile::reopen_if_moved(Instant now) {
  if (!plain_ || now - looked_ < kLookAgain) return;
  looked_ = now;
  struct stat there{};
  struct stat ours{};
  const bool same = ::stat(path_.c_str(), &there) == 0 && ::fstat(file_.get(), &ours) == 0 &&
                    there.st_ino == ours.st_ino && there.st_dev == ours.st_dev;
  if (same) {
    size_ = static_cast<std::uint64_t>(ours.st_size);  // it may have been emptied
    return;
  }
  if (auto folder = open_folder(path_)) folder_ = std::move(*folder);  // it too may be another one
  auto file = open_current();
  if (!file) return;
  file_ = std::move(*file);
  size_ = 0;
}

void LogFile::rotate() {
  // From the oldest on, so that each finds its place free; what is beyond the total goes first.
  remove_old();
  std::uint64_t last = 0;
  while (last < kMostFiles) {
    struct stat info{};
    const CString next(numbered(name_, last + 1));
    if (::fstatat(folder_.get(), next.bytes, &info, AT_SYMLINK_NOFOLLOW) < 0) break;
    ++last;
  }
  for (std::uint64_t number = last + 1; number-- > 0;) {
    const CString from(numbered(name_, number));
    const CString to(numbered(name_, number + 1));
    if (::renameat(folder_.get(), from.bytes, folder_.get(), to.bytes) < 0) return;
  }
  auto file = open_current();
  if (!file) return;  // the old one, under its new name, still takes what comes
  file_ = std::move(*file);
  size_ = 0;
  remove_old();
}

// Keeps the newest that fit the total together with the present one, as far as they are young.
void LogFile::remove_old() {
  std::uint64_t sum = std::max(size_, policy_.size.count);  // room for the present one to grow
  const auto now = std::time(nullptr);
  const auto most_age = std::chrono::duration_cast<std::chrono::seconds>(policy_.age).count();
  bool keep = true;
  for (std::uint64_t number = 1; number <= kMostFiles; ++number) {
    struct stat info{};
    const CString name(numbered(name_, number));
    if (::fstatat(folder_.get(), name.bytes, &info, AT_SYMLINK_NOFOLLOW) < 0) return;
    sum += static_cast<std::uint64_t>(info.st_size);
    keep = keep && sum <= policy_.total.count && now - info.st_mtime <= most_age;
    if (!keep) ::unlinkat(folder_.get(), name.bytes, 0);
  }
}

// How many bytes of @p text the rate lets pass now, up to the end of a line.
std::size_t LogFile::allowed(std::string_view text, Instant now) {
  const auto rate = static_cast<double>(policy_.rate.count);
  if (policy_.rate.count == 0) return text.size();
  const double most = std::max(rate, kSmallestBurst);
  const auto passed = std::chrono::duration<double>(now - filled_).count();
  tokens_ = filled_ == Instant{} ? most : std::min(most, tokens_ + passed * rate);
  filled_ = now;
  std::size_t count = text.size();
  if (static_cast<double>(count) > tokens_) {
    const auto end = text.rfind('\n', static_cast<std::size_t>(tokens_));
    count = end == text.npos || static_cast<double>(end + 1) > tokens_ ? 0 : end + 1;
  }
  tokens_ -= static_cast<double>(count);
  return count;
}

void LogFile::lose(std::string_view text, bool by_rate) {
  loss_.bytes += text.size();
  loss_.lines += static_cast<std::uint64_t>(std::ranges::count(text, '\n'));
  loss_.by_rate = by_rate;
  loss_.mid_line = by_rate && !text.ends_with('\n');
  lost_total_ += text.size();
}

bool LogFile::tell_loss() {
  if (loss_.bytes == 0) return true;
  Text<200> notice(at_line_start_ ? "" : "\n");
  if (policy_.times) notice.append(time_text(os::wall_now()));
  notice.append("[gpuward] ")
      .append_number(static_cast<long long>(loss_.lines))
      .append(" lines (")
      .append_number(static_cast<long long>(loss_.bytes))
      .append(" bytes) of output are missing here: ")
      .append(loss_.by_rate ? "they came faster than 'log.rate'\n"
                            : "the log could not be written\n");
  const ssize_t n = ::write(file_.get(), notice.view().data(), notice.size());
  if (n != static_cast<ssize_t>(notice.size())) return false;
  size_ += notice.size();
  at_line_start_ = true;
  loss_ = Loss{};
  return true;
}

bool LogFile::append(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(file_.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      lose(text, false);
      return false;
    }
    at_line_start_ = text[static_cast<std::size_t>(n) - 1] == '\n';
    size_ += static_cast<std::uint64_t>(n);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// The lines of one piece have one time, and go out together.
bool LogFile::append_with_times(std::string_view text) {
  const auto time = time_text(os::wall_now());
  std::array<char, 4096> staged;
  std::size_t size = 0;
  const auto flush = [&] {
    const bool done = append({staged.data(), size});
    size = 0;
    return done;
  };
  while (!text.empty()) {
    const bool begins = size == 0 ? at_line_start_ : staged[size - 1] == '\n';
    if (staged.size() - size <= kTimeSize) {
      if (!flush()) break;
      continue;
    }
    if (begins) size += time.view().copy(staged.data() + size, kTimeSize);
    const auto feed = text.find('\n');
    const auto line = text.substr(0, feed == text.npos ? feed : feed + 1);
    const std::size_t taken = line.copy(staged.data() + size, staged.size() - size);
    size += taken;
    text.remove_prefix(taken);
  }
  if (text.empty()) return flush();
  lose(text, false);
  return false;
}

std::uint64_t LogFile::end_before(std::string_view tail) const {
  std::uint64_t after = tail.size();
  if (policy_.times && !tail.empty())
    after += kTimeSize *
             static_cast<std::uint64_t>(std::ranges::count(tail.substr(0, tail.size() - 1), '\n'));
  return size_ - std::min(size_, after);
}

void LogFile::write(std::string_view text, Instant now) {
  if (text.empty()) return;
  reopen_if_moved(now);
  const bool full = plain_ && size_ >= policy_.size.count;
  if (full && (at_line_start_ || size_ >= policy_.size.count + kLongestTail)) rotate();
  if (loss_.mid_line) {  // the rest of a line whose beginning is missing
    const auto end = text.find('\n');
    const auto rest = text.substr(0, end == text.npos ? end : end + 1);
    lose(rest, true);
    text.remove_prefix(rest.size());
    if (text.empty()) return;
  }
  const std::size_t count = allowed(text, now);
  if (count != 0) {
    (void)tell_loss();
    const auto now_written = text.substr(0, count);
    (void)(policy_.times ? append_with_times(now_written) : append(now_written));
  }
  if (count < text.size()) lose(text.substr(count), true);
}

}  // namespace gpuward::anchor
