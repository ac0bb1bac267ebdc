#pragma once

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <functional>
#include <memory>
#include <span>

#include "control/channel.h"
#include "os/fd.h"

namespace gpuward::warden {

namespace asio = boost::asio;

/// One control connection inside the loop: whole bodies in, whole frames out, in order. Loop thread
/// only. The handlers live as long as the link, after close() too: what they hold must not hold the
/// link.
class Link : public std::enable_shared_from_this<Link> {
 public:
  using OnBody = std::function<void(const wire::Body&)>;
  using OnGone = std::function<void()>;

  /// Takes a connected stream socket. @p limit bounds what the peer may send in one frame.
  static Result<std::shared_ptr<Link>> take(asio::io_context& loop, os::Fd socket,
                                            std::size_t limit);

  /// Starts to read. @p on_gone is called once, when the peer has closed or has broken the
  /// protocol.
  void start(OnBody on_body, OnGone on_gone);
  void close();

  /// Encodes into a buffer that doubles until @p message fits or @p limit is reached. What waits to
  /// be written holds no more than its own bytes: there may be a message for each of a thousand.
  template <class T>
  Result<void> send(const T& message, std::size_t limit = wire::kMaxSmall) {
    for (std::size_t size = std::min<std::size_t>(limit, 16 << 10);;
         size = std::min(size * 2, limit)) {
      std::vector<std::byte> room(size + wire::kFrameHeader);
      auto frame = wire::encode(message, room);
      if (!frame && size < limit) continue;
      if (!frame) return fail(std::move(frame).error());
      queue(std::make_shared<std::vector<std::byte>>(frame->begin(), frame->end()));
      return {};
    }
  }

  asio::local::stream_protocol::socket& socket() { return socket_; }

 private:
  Link(asio::io_context& loop, std::size_t limit) : socket_(loop), frames_(limit) {}
  void read();
  void queue(std::shared_ptr<std::vector<std::byte>> bytes);
  void write();
  void gone();

  asio::local::stream_protocol::socket socket_;
  control::FrameBuffer frames_;
  OnBody on_body_;
  OnGone on_gone_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> outgoing_;
  bool writing_ = false;
  bool closed_ = false;
};

}  // namespace gpuward::warden
