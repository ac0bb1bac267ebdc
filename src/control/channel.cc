#include "control/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/clock.h"

namespace gpuward::control {
namespace {

Result<void> wait_for(int fd, short events, Instant deadline, std::string_view what) {
  pollfd item{fd, events, 0};
  for (;;) {
    const int n = ::poll(&item, 1, os::poll_timeout(deadline));
    if (n > 0) return {};
    if (n == 0) return fail(Errc::timed_out, what);
    if (errno != EINTR) return fail(last_error(what));
  }
}

}  // namespace

Result<std::optional<wire::Body>> FrameBuffer::next() {
  if (taken_ != 0) {
    std::copy(bytes_.begin() + static_cast<std::ptrdiff_t>(taken_),
              bytes_.begin() + static_cast<std::ptrdiff_t>(filled_), bytes_.begin());
    filled_ -= taken_;
    taken_ = 0;
  }
  if (filled_ < wire::kFrameHeader) return std::nullopt;
  const std::size_t length = wire::frame_length(
      std::span<const std::byte, wire::kFrameHeader>(bytes_.data(), wire::kFrameHeader));
  if (length > limit_) return fail(Errc::bad_message, "read a frame beyond its limit");
  if (bytes_.size() < wire::kFrameHeader + length) {
    own_.resize(wire::kFrameHeader + length);
    bytes_ = own_;
  }
  if (filled_ < wire::kFrameHeader + length) return std::nullopt;
  taken_ = wire::kFrameHeader + length;
  auto body = wire::open_body(bytes_.subspan(wire::kFrameHeader, length));
  if (!body) return fail(std::move(body).error());
  return *body;
}

Result<void> Channel::send_bytes(std::span<const std::byte> bytes, Instant deadline) {
  while (!bytes.empty()) {
    const ssize_t n =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      GPUWARD_TRY(wait_for(socket_.get(), POLLOUT, deadline, "send a request"));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return fail(Errc::unreachable, "send a request");
    } else if (errno != EINTR) {
      return fail(last_error("send a request"));
    }
  }
  return {};
}

Result<wire::Body> Channel::receive(Instant deadline) {
  for (;;) {
    auto body = frames_.next();
    if (!body) return fail(std::move(body).error());
    if (*body) return **body;
    GPUWARD_TRY(wait_for(socket_.get(), POLLIN, deadline, "wait for an answer"));
    auto room = frames_.room();
    const ssize_t n = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (n > 0)
      frames_.add(static_cast<std::size_t>(n));
    else if (n == 0 || errno == ECONNRESET)
      return fail(Errc::unreachable, "wait for an answer");
    else if (errno != EAGAIN && errno != EINTR)
      return fail(last_error("read an answer"));
  }
}

}  // namespace gpuward::control
