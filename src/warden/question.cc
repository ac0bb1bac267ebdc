#include "warden/question.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <utility>

namespace gpuward::warden {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kStep = std::size_t{16} << 10;
constexpr std::size_t kLongestHeader = std::size_t{16} << 10;
constexpr std::size_t kMostUnparsed = std::size_t{64} << 10;

}  // namespace

std::shared_ptr<Question> Question::ask(asio::io_context& loop, const os::TcpAddress& address,
                                        std::string head, std::shared_ptr<const std::string> body,
                                        OnEnd on_end) {
  std::shared_ptr<Question> question(
      new Question(loop, std::move(head), std::move(body), std::move(on_end)));
  question->connect(address);
  return question;
}

void Question::connect(const os::TcpAddress& address) {
  asio::ip::tcp::endpoint endpoint;
  error_code code;
  if (address.length <= endpoint.capacity()) {
    std::memcpy(endpoint.data(), &address.storage, address.length);
    endpoint.resize(address.length);
  }
  expect_answer();
  (void)socket_.open(endpoint.protocol(), code);
  socket_.async_connect(endpoint, [self = shared_from_this()](const error_code& failed) {
    if (self->closed_) return;
    if (failed)
      return self->finish(failed == asio::error::connection_refused ? Answer::End::refused
                                                                    : Answer::End::unreached);
    self->write();
    self->read();
  });
}

void Question::expect_answer() {
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(kLongestHeader);
  parser_->body_limit(kLongestBody);
}

// Whether all of it could be sent is of no interest: an early answer is one too.
void Question::write() {
  const std::array<asio::const_buffer, 2> parts = {
      asio::buffer(head_), body_ ? asio::buffer(*body_) : asio::const_buffer()};
  asio::async_write(socket_, parts, [self = shared_from_this()](const error_code&, std::size_t) {});
}

void Question::read() {
  if (buffer_.size() > kMostUnparsed) return finish(Answer::End::garbage);
  socket_.async_read_some(buffer_.prepare(kStep),
                          [self = shared_from_this()](const error_code& code, std::size_t count) {
                            if (self->closed_) return;
                            self->buffer_.commit(count);
                            self->received_ += count;
                            if (code == asio::error::eof) return self->at_end();
                            if (code) return self->finish(Answer::End::closed);
                            self->parse();
                          });
}

void Question::parse() {
  while (buffer_.size() != 0) {
    error_code code;
    const auto used = parser_->put(buffer_.data(), code);
    buffer_.consume(used);
    if (code == http::error::need_more) return read();
    if (code == http::error::body_limit) return finish(Answer::End::long_);
    if (code) return finish(Answer::End::garbage);
    if (parser_->is_done()) {
      if (parser_->get().result_int() >= 200) return finish(Answer::End::whole);
      expect_answer();  // "100 Continue" and the like come before it
    } else if (used == 0) {
      break;
    }
  }
  read();
}

// An answer without a length ends with its connection. The parser takes none at all for a whole
// one.
void Question::at_end() {
  const bool begun = parser_->got_some();
  error_code code;
  parser_->put_eof(code);
  const bool whole = begun && !code && parser_->is_done();
  finish(whole ? Answer::End::whole : Answer::End::closed);
}

void Question::finish(Answer::End end) {
  Answer answer;
  answer.end = end;
  if (end == Answer::End::whole || end == Answer::End::long_) {
    answer.status = parser_->get().result_int();
    if (end == Answer::End::whole) answer.body = std::move(parser_->get().body());
  }
  close();
  // The handler may hold whoever holds us.
  if (const auto on_end = std::exchange(on_end_, nullptr)) on_end(std::move(answer));
}

void Question::close() {
  closed_ = true;
  error_code ignored;
  (void)socket_.close(ignored);
}

}  // namespace gpuward::warden
