#include "sentinel/serve.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>

#include "os/clock.h"
#include "sentinel/driver_probe.h"
#include "sentinel/event_watch.h"
#include "sentinel/frame.h"

namespace gpuward::sentinel {
namespace {

/// Whoever began in the tick of the list cannot be told from another of its number yet.
bool has_young_rows(const GpuSnapshot& snapshot) {
  const auto is_young = [](const GpuProcess& row) { return row.pairing == Pairing::young; };
  return std::ranges::any_of(snapshot.devices, [&](const GpuDevice& device) {
    return std::ranges::any_of(device.processes, is_young);
  });
}

/// States: idle (waiting for pace_ or a byte); looking (a call may get stuck). A byte while looking
/// is kept in pace_, because the look under way may have read already.
class Server {
 public:
  Server(Looker& looker, gpu::NvmlOptions options, const os::Fd& peer)
      : looker_(looker), options_(std::move(options)), peer_(peer) {}

  Result<void> run() {
    while (!over_) {
      const Instant now = os::now();
      begin_look(now);
      if (probing_) probe_.tick(now);
      pollfd fds[4] = {{peer_.get(), POLLIN, 0},
                       {looker_.ready_fd(), POLLIN, 0},
                       {events_ != nullptr ? events_->ready_fd() : -1, POLLIN, 0},
                       {probe_.poll_fd(), POLLIN, 0}};
      const int got = ::poll(fds, 4, os::poll_timeout(next_deed(os::now())));
      if (got < 0 && errno != EINTR) return fail(last_error("poll"));
      if (got > 0 && fds[2].revents != 0) hear_events();
      if (got > 0 && fds[3].revents != 0) probe_.finish();
      if (got > 0 && fds[1].revents != 0) GPUWARD_TRY(end_look());
      if (got > 0 && fds[0].revents != 0) GPUWARD_TRY(hear());
      GPUWARD_TRY(report_unfinished(os::now()));
    }
    return {};
  }

 private:
  Instant next_deed(Instant now) const {
    const Instant probe = probing_ ? probe_.due() : Instant::max();
    if (!looking_) return std::min(probe, pace_.due());
    return std::min({probe, std::max(looker_.check_at(now), report_from_), heartbeat_});
  }

  void begin_look(Instant now) {
    if (looking_ || now < pace_.due()) return;
    looking_ = looker_.ask(pace_.begin(now));
    report_from_ = now;
    heartbeat_ = now + 2 * kPeriod;
  }

  Result<void> end_look() {
    auto snapshot = looker_.take();
    if (!snapshot) return {};
    looking_ = false;
    if (snapshot->sight == GpuSight::visible) begin_watching();
    if (has_young_rows(*snapshot)) pace_.look_soon();
    return send(*std::move(snapshot));
  }

  /// Once the cards are awake: neither the events nor the probe may be what wakes them.
  void begin_watching() {
    probing_ = true;
    if (events_tried_) return;
    events_tried_ = true;
    // Without them a look each second finds nearly as much.
    if (auto watch = EventWatch::start(options_)) events_ = *watch;
  }

  void hear_events() {
    auto taken = events_->take();
    for (const GpuEvent& event : taken.events) {
      if (pending_.events.size() < kMostEvents)
        pending_.events.push_back(event);
      else
        ++pending_.lost;
    }
    pending_.lost += taken.lost;
    pace_.hear_event();
  }

  Result<void> hear() {
    char bytes[256];
    const auto got = ::recv(peer_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (got < 0 && errno != ECONNRESET) return fail(last_error("read a question"));
    over_ = got <= 0;
    pace_.ask();
    const Instant now = os::now();
    if (looking_ && now >= looker_.stuck_at()) report_from_ = now;
    return {};
  }

  Result<void> report_unfinished(Instant now) {
    if (!looking_ || over_) return {};
    if (now >= report_from_ && now >= looker_.stuck_at()) {
      report_from_ = now + kPeriod;
      heartbeat_ = now + 2 * kPeriod;
      return send(looker_.hung(now));
    }
    if (now < heartbeat_) return {};
    heartbeat_ = now + kPeriod;
    return send(looker_.unfinished());
  }

  Result<void> send(GpuSnapshot snapshot) {
    snapshot.events = std::move(pending_.events);
    snapshot.events_lost = pending_.lost;
    snapshot.driver_changed = probe_.driver_changed();
    pending_ = {};
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
  gpu::NvmlOptions options_;
  const os::Fd& peer_;
  EventWatch* events_ = nullptr;  // lives as long as the program
  EventWatch::Taken pending_;     // not sent yet
  DriverProbe probe_;
  bool probing_ = false;
  bool events_tried_ = false;
  bool looking_ = false;
  bool over_ = false;
  Pace pace_;
  Instant report_from_ = Instant::max();  // a hung call is reported from here on
  Instant heartbeat_ = Instant::max();    // something is said then, even of a look that goes on
};

}  // namespace

Result<void> serve(Looker& looker, gpu::NvmlOptions options, const os::Fd& peer) {
  GPUWARD_TRY(peer.set_nonblocking(false));
  const timeval limit{.tv_sec = kPeerPatience.count(), .tv_usec = 0};
  if (::setsockopt(peer.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0)
    return fail(last_error("use the connected socket that must be descriptor 3"));
  return Server(looker, std::move(options), peer).run();
}

}  // namespace gpuward::sentinel
