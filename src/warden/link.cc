#include "warden/link.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

namespace gpuward::warden {

using boost::system::error_code;

Result<std::shared_ptr<Link>> Link::take(asio::io_context& loop, os::Fd socket, std::size_t limit) {
  std::shared_ptr<Link> link(new Link(loop, limit));
  error_code code;
  (void)link->socket_.assign(asio::local::stream_protocol(), socket.get(), code);
  if (code) return fail(error_from(code.value(), "watch a control connection"));
  (void)socket.release();
  return link;
}

void Link::start(OnBody on_body, OnGone on_gone) {
  on_body_ = std::move(on_body);
  on_gone_ = std::move(on_gone);
  read();
}

// The handlers stay until the link goes: one of them may be what closes it.
void Link::close() {
  closed_ = true;
  error_code ignored;
  (void)socket_.close(ignored);
}

void Link::gone() {
  if (closed_) return;
  close();
  if (on_gone_) on_gone_();
}

void Link::read() {
  const auto room = frames_.room();
  socket_.async_read_some(asio::buffer(room.data(), room.size()),
                          [self = shared_from_this()](const error_code& code, std::size_t count) {
                            if (self->closed_) return;
                            if (code) return self->gone();
                            self->frames_.add(count);
                            for (;;) {
                              auto body = self->frames_.next();
                              if (!body) return self->gone();
                              if (!*body) break;
                              self->on_body_(**body);
                              if (self->closed_) return;
                            }
                            self->read();
                          });
}

void Link::queue(std::shared_ptr<std::vector<std::byte>> bytes) {
  outgoing_.push_back(std::move(bytes));
  if (!writing_) write();
}

void Link::write() {
  if (outgoing_.empty()) return;
  writing_ = true;
  auto bytes = outgoing_.front();
  outgoing_.erase(outgoing_.begin());
  asio::async_write(socket_, asio::buffer(bytes->data(), bytes->size()),
                    [self = shared_from_this(), bytes](const error_code& code, std::size_t) {
                      self->writing_ = false;
                      if (!code) self->write();  // a broken peer shows at the next read
                    });
}

}  // namespace gpuward::warden
