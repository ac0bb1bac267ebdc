#include "anchor/log_pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "anchor/scratch.h"
#include "base/fnv.h"
#include "os/clock.h"

namespace gpuward::anchor {
namespace {

constexpr int kFifoBytes = 1 << 20;
constexpr std::size_t kChunk = sizeof scratch.output;

Result<os::Fd> open_fifo(const os::Fd& dir, const char* name) {
  if (::mkfifoat(dir.get(), name, 0600) < 0 && errno != EEXIST)
    return fail(last_error("make fifo", name));
  // O_RDWR: never end-of-file while no service runs, never SIGPIPE for a service while no anchor
  // does.
  auto fifo = os::Fd::open_at(dir, name, O_RDWR | O_NONBLOCK | O_NOFOLLOW);
  if (!fifo) return fifo;
  struct stat info{};
  if (::fstat(fifo->get(), &info) < 0 || !S_ISFIFO(info.st_mode))
    return fail(error_from(EEXIST, "use as a fifo", name));
  (void)::fcntl(fifo->get(), F_SETPIPE_SZ,
                kFifoBytes);  // EPERM beyond the user's limit: 64 KiB stay
  return fifo;
}

void consume(const os::Fd& fifo, std::size_t count) {
  while (count != 0) {
    const ssize_t n =
        ::read(fifo.get(), scratch.output.data(), std::min(count, scratch.output.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    count -= static_cast<std::size_t>(n);
  }
}

}  // namespace

Result<LogPump> LogPump::open(const os::Fd& dir, const std::string& log_file,
                              const LogPolicy& policy) {
  LogPump pump;
  auto out = open_fifo(dir, "out");
  if (!out) return fail(std::move(out).error());
  auto err = open_fifo(dir, "err");
  if (!err) return fail(std::move(err).error());
  auto service_out = os::Fd::open_at(dir, "out", O_RDWR | O_NOFOLLOW);
  if (!service_out) return fail(std::move(service_out).error());
  auto service_err = os::Fd::open_at(dir, "err", O_RDWR | O_NOFOLLOW);
  if (!service_err) return fail(std::move(service_err).error());
  auto copy = os::make_pipe(O_NONBLOCK);
  if (!copy) return fail(std::move(copy).error());
  auto log = LogFile::open(log_file, policy);
  if (!log) return fail(std::move(log).error());
  pump.out_ = std::move(*out);
  pump.err_ = std::move(*err);
  pump.service_out_ = std::move(*service_out);
  pump.service_err_ = std::move(*service_err);
  pump.copy_read_ = std::move(copy->read);
  pump.copy_write_ = std::move(copy->write);
  pump.log_ = std::move(*log);
  return pump;
}

void LogPump::write(std::string_view text, LogScan& scan) {
  const LogAlarm before = alarm();
  const std::uint64_t lost = log_.lost_bytes();
  const LogAlarm told = scan.feed(text);
  const Instant now = os::now();
  if (told != LogAlarm::none && rank_of(told) >= std::min(rank_of(alarm()), kFatalRank))
    alarm_at_ = now;
  log_.write(text, now);
  if (alarm() == before) return;
  const std::size_t at = scan.alarm_end();
  const auto feed = text.rfind('\n', at - 1);
  const std::size_t begin = feed == text.npos ? 0 : feed + 1;
  const auto line = text.substr(begin, text.find('\n', at) - begin);
  const auto end = log_.end_before(text.substr(begin + line.size()));
  const bool whole = log_.lost_bytes() == lost && end >= line.size();
  alarm_place_.begin = whole ? end - line.size() : 0;
  alarm_place_.end = whole ? end : 0;
  alarm_place_.hash = fnv1a(line);
}

bool LogPump::move_some(const os::Fd& fifo, LogScan& scan) {
  const ssize_t teed = ::tee(fifo.get(), copy_write_.get(), kChunk, SPLICE_F_NONBLOCK);
  if (teed > 0) {
    const ssize_t n =
        ::read(copy_read_.get(), scratch.output.data(), static_cast<std::size_t>(teed));
    if (n <= 0) return false;
    // What was cut off in the middle of a line waits for the rest: the other stream may come
    // between.
    std::string_view text(scratch.output.data(), static_cast<std::size_t>(n));
    const auto end = text.rfind('\n');
    if (text.size() == kChunk && end != text.npos) text = text.substr(0, end + 1);
    write(text, scan);
    consume(fifo, text.size());
    return true;
  }
  if (teed < 0 &&
      (errno == ENOSYS || errno == EINVAL)) {  // a sandbox without tee(2): order is lost
    const ssize_t n = ::read(fifo.get(), scratch.output.data(), scratch.output.size());
    if (n <= 0) return false;
    write({scratch.output.data(), static_cast<std::size_t>(n)}, scan);
    return true;
  }
  return false;
}

void LogPump::pump() {
  move_some(out_, scans_[0]);
  move_some(err_, scans_[1]);
}

void LogPump::drain() {
  constexpr std::size_t kMost =
      std::size_t{4} * kFifoBytes / kChunk;  // more has come since we began
  for (std::size_t n = 0; n < kMost && move_some(out_, scans_[0]); ++n) {
  }
  for (std::size_t n = 0; n < kMost && move_some(err_, scans_[1]); ++n) {
  }
}

void LogPump::only_read(os::Fd out, os::Fd err) {
  out_ = std::move(out);
  err_ = std::move(err);
  service_out_.close();
  service_err_.close();
}

bool LogPump::uses(int fd) const {
  return fd == out_.get() || fd == err_.get() || fd == copy_read_.get() ||
         fd == copy_write_.get() || log_.uses(fd);
}

void LogPump::read_until_nobody_writes() {
  while (out_ || err_) {
    std::array<pollfd, 2> items{{{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}}};
    if (::poll(items.data(), items.size(), -1) < 0 && errno != EINTR) return;
    for (std::size_t n = 0; n < items.size(); ++n) {
      os::Fd& fifo = n == 0 ? out_ : err_;
      if ((items[n].revents & POLLIN) != 0)
        move_some(fifo, scans_[n]);
      else if (items[n].revents != 0)
        fifo.close();
    }
  }
  tell_loss();
}

void LogPump::look_for(std::string_view ready) {
  for (auto& scan : scans_) scan.want(ready);
}

void LogPump::begin_anew() {
  drain();
  for (auto& scan : scans_) scan.reset();
  alarm_at_ = {};
}

void LogPump::note(std::string_view text) {
  Text<400> line("[gpuward] ");
  line.append(text).append('\n');
  log_.write(line, os::now());
}

}  // namespace gpuward::anchor
