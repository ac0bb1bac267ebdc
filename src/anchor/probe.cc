#include "anchor/probe.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "anchor/http_status.h"

namespace gpuward::anchor {
namespace {

constexpr std::size_t kRequestRoom = kLongestReadyPath + 200;

Text<kRequestRoom> request_for(const Readiness& ready) {
  Text<kRequestRoom> text("GET ");
  text.append(ready.path).append(" HTTP/1.1\r\nHost: ").append(ready.address);
  text.append("\r\nUser-Agent: gpuward\r\nAccept: */*\r\nConnection: close\r\n\r\n");
  return text;
}

}  // namespace

Probe::Probe(const Readiness& ready)
    : ready_(&ready), address_(os::parse_tcp_address(ready.address)) {}

void Probe::start(Instant now) {
  active_ = ready_ != nullptr && address_.has_value();
  refused_ = 0;
  pause_ = kFirstPause;
  step_ = Step::pause;
  next_ = now;
  evidence_.clear();
}

void Probe::stop() {
  active_ = false;
  socket_.close();
}

short Probe::events() const {
  if (step_ == Step::connecting || step_ == Step::sending) return POLLOUT;
  return step_ == Step::reading || step_ == Step::draining ? POLLIN : 0;
}

void Probe::retry(Instant now) {
  ++refused_;
  socket_.close();
  step_ = Step::pause;
  next_ = now + pause_;
  pause_ = std::min<Duration>(pause_ * 2, kLongestPause);
}

void Probe::fail_attempt(std::string_view why, Instant now) {
  failure_ = Text<40>(why);
  retry(now);
}

void Probe::attempt(Instant now) {
  auto socket = os::start_connect(*address_);
  if (!socket) return fail_attempt("could not be connected to", now);
  socket_ = std::move(*socket);
  step_ = Step::connecting;
  next_ = now + kAttempt;
  line_size_ = 0;
  sent_ = 0;
  drained_ = 0;
}

bool Probe::answered(Instant now) {
  pollfd item{socket_.get(), events(), 0};
  if (::poll(&item, 1, 0) == 1) return true;
  if (now >= next_) fail_attempt("did not answer in 5 s", now);
  return false;
}

bool Probe::read_status(Instant now) {
  const ssize_t n =
      ::recv(socket_.get(), line_ + line_size_, sizeof line_ - line_size_, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n > 0) line_size_ += static_cast<std::size_t>(n);
  const std::string_view line(line_, line_size_);
  const bool whole = line.find('\n') != std::string_view::npos || line_size_ == sizeof line_;
  if (!whole && n > 0) return false;
  status_ = http_status(line);
  step_ = Step::draining;
  next_ = now + kDrain;
  return drain(now);
}

// To the end of the answer, or until it has been enough.
bool Probe::drain(Instant now) {
  constexpr std::size_t kEnough = 4 << 20;
  constexpr int kReadsAtOnce = 64;  // the anchor has other work too
  std::array<char, 2048> scratch;
  bool over = false;
  for (int reads = 0; reads < kReadsAtOnce && !over; ++reads) {
    const ssize_t n = ::recv(socket_.get(), scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (n > 0) drained_ += static_cast<std::size_t>(n);
    over = n <= 0 || drained_ >= kEnough;
  }
  if (!over && now < next_) return false;
  if (status_ < 200 || status_ > 399) {
    Text<40> why(status_ == 0 ? "gave no HTTP answer" : "answered ");
    if (status_ != 0) why.append_number(status_);
    fail_attempt(why, now);
    return false;
  }
  evidence_ = Text<64>("GET ");
  evidence_.append(std::string_view(ready_->path).substr(0, 36))
      .append(" answered ")
      .append_number(status_);
  return true;
}

bool Probe::advance(Instant now) {
  if (!active_) return false;
  if (step_ == Step::draining) return drain(now);
  if (step_ == Step::pause) {
    if (now < next_) return false;
    attempt(now);
  }
  if (step_ == Step::pause || !answered(now)) return false;
  if (step_ == Step::connecting) {
    if (os::connect_result(socket_) != 0) {
      fail_attempt("refused the connection", now);
      return false;
    }
    if (ready_->kind == ReadyKind::tcp) {
      evidence_ = Text<64>("port ");
      evidence_.append_number(port()).append(" accepts connections");
      return true;
    }
    step_ = Step::sending;
  }
  if (step_ == Step::sending) {
    const auto request = request_for(*ready_);
    const auto rest = request.view().substr(sent_);
    const ssize_t n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      fail_attempt("closed the connection", now);
      return false;
    }
    if (n > 0) sent_ += static_cast<std::size_t>(n);
    if (sent_ < request.size()) return false;
    step_ = Step::reading;
    return false;
  }
  return read_status(now);
}

}  // namespace gpuward::anchor
