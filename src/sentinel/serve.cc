#include "sentinel/serve.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "os/clock.h"
#include "sentinel/frame.h"

namespace gpuward::sentinel {
namespace {

using std::chrono::milliseconds;

/// States: idle (waiting for next_look_ or a byte); looking (asked at asked_at_, hung_report_
/// ahead). A byte while looking is kept in wanted_, because the look under way may have read
/// already.
class Server {
 public:
  Server(Looker& looker, const os::Fd& peer) : looker_(looker), peer_(peer) {}

  Result<void> run() {
    while (!over_) {
      begin_look(os::now());
      pollfd fds[2] = {{peer_.get(), POLLIN, 0}, {looker_.ready_fd(), POLLIN, 0}};
      const int got = ::poll(fds, 2, os::poll_timeout(looking_ ? hung_report_ : next_look_));
      if (got < 0 && errno != EINTR) return fail(last_error("poll"));
      if (got > 0 && fds[1].revents != 0) GPUWARD_TRY(end_look());
      if (got > 0 && fds[0].revents != 0) GPUWARD_TRY(hear());
      GPUWARD_TRY(report_hung(os::now()));
    }
    return {};
  }

 private:
  void begin_look(Instant now) {
    if (looking_ || (now < next_look_ && !wanted_)) return;
    looking_ = looker_.ask();
    wanted_ = false;
    asked_at_ = now;
    next_look_ = now + kPeriod;
    hung_report_ = now + kLookDeadline;
  }

  Result<void> end_look() {
    const auto snapshot = looker_.take();
    if (!snapshot) return {};
    looking_ = false;
    return send(*snapshot);
  }

  Result<void> hear() {
    char bytes[256];
    const auto got = ::recv(peer_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (got < 0 && errno != ECONNRESET) return fail(last_error("read a question"));
    over_ = got <= 0;
    wanted_ = true;
    const bool is_hung = looking_ && os::now() - asked_at_ >= kLookDeadline;
    if (is_hung) hung_report_ = os::now();
    return {};
  }

  Result<void> report_hung(Instant now) {
    if (!looking_ || over_ || now < hung_report_) return {};
    hung_report_ = now + kPeriod;
    return send(looker_.hung(std::chrono::duration_cast<milliseconds>(now - asked_at_)));
  }

  Result<void> send(const GpuSnapshot& snapshot) {
    const auto frame = frame_of(snapshot);
    if (!frame) return fail(frame.error());
    std::span<const std::byte> rest(*frame);
    while (!rest.empty()) {
      const auto sent = ::send(peer_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        rest = rest.subspan(static_cast<std::size_t>(sent));
      } else if (errno == EPIPE || errno == ECONNRESET) {
        over_ = true;  // the reader has gone: the same as end of file
        return {};
      } else if (errno == EAGAIN) {
        return fail(Errc::timed_out, "send a snapshot to a reader that takes nothing");
      } else if (errno != EINTR) {
        return fail(last_error("send a snapshot"));
      }
    }
    return {};
  }

  Looker& looker_;
  const os::Fd& peer_;
  bool looking_ = false;
  bool wanted_ = false;
  bool over_ = false;
  Instant asked_at_ = Instant::min();
  Instant next_look_ = Instant::min();
  Instant hung_report_ = Instant::max();
};

}  // namespace

Result<void> serve(Looker& looker, const os::Fd& peer) {
  GPUWARD_TRY(peer.set_nonblocking(false));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(kLookDeadline).count();
  const timeval limit{.tv_sec = seconds, .tv_usec = 0};
  if (::setsockopt(peer.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
    return fail(last_error("use the connected socket that must be descriptor 3"));
  return Server(looker, peer).run();
}

}  // namespace gpuward::sentinel
