#include "anchor/engine_call.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "anchor/http_status.h"
#include "os/socket.h"

namespace gpuward::anchor {

void EngineCall::start(std::string_view id, std::string_view signal, Instant now) {
  request_ = Text<256>("POST /containers/");
  request_.append(id).append("/kill?signal=").append(signal);
  request_.append(" HTTP/1.1\r\nHost: gpuward\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  at_ = 0;
  answer_ = Answer::none;
  first_answered_ = false;
  step_ = Step::sending;
  try_next(now);
}

short EngineCall::events() const {
  return step_ == Step::reading ? POLLIN : POLLOUT;
}

// The end of a call without any socket is told by advance() too: so it is due at once.
void EngineCall::try_next(Instant now) {
  socket_.close();
  while (sockets_ != nullptr && at_ < std::min(sockets_->size(), kMostSockets)) {
    attempt((*sockets_)[at_++], now);
    if (socket_) return;
  }
  next_ = now;
}

void EngineCall::attempt(const std::string& path, Instant now) {
  auto socket = os::start_connect_unix(path.c_str());
  if (!socket) return;
  socket_ = std::move(*socket);
  step_ = Step::sending;
  next_ = now + kAttempt;
  sent_ = 0;
  line_size_ = 0;
}

void EngineCall::take(int status, Instant now) {
  if (at_ == 1) first_answered_ = true;
  if (status >= 200 && status <= 299) answer_ = Answer::signalled;
  if (status == 409) answer_ = Answer::not_running;
  if (answer_ == Answer::signalled || answer_ == Answer::not_running) {
    at_ = kMostSockets;
  } else if (status == 404) {
    if (answer_ == Answer::none) answer_ = Answer::unknown;
  } else {
    answer_ = Answer::refused;
  }
  try_next(now);
}

void EngineCall::send_request(Instant now) {
  const auto rest = request_.view().substr(sent_);
  const ssize_t n = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) return try_next(now);
  if (n > 0) sent_ += static_cast<std::size_t>(n);
  if (sent_ == request_.size()) step_ = Step::reading;
}

void EngineCall::read_status(Instant now) {
  const ssize_t n = ::recv(socket_.get(), line_ + line_size_, sizeof line_ - line_size_, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) line_size_ += static_cast<std::size_t>(n);
  const std::string_view line(line_, line_size_);
  const bool whole = line.find('\n') != std::string_view::npos || line_size_ == sizeof line_;
  if (!whole && n > 0) return;
  const int status = http_status(line);
  if (status == 0) return try_next(now);  // it speaks something else
  take(status, now);
}

bool EngineCall::advance(Instant now) {
  if (!busy()) return false;
  if (socket_ && now >= next_) try_next(now);
  if (socket_) {
    pollfd item{socket_.get(), events(), 0};
    if (::poll(&item, 1, 0) != 1) return false;
    step_ == Step::sending ? send_request(now) : read_status(now);
  }
  if (socket_) return false;
  step_ = Step::idle;
  return true;
}

}  // namespace gpuward::anchor
