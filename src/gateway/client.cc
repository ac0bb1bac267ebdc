#include "gateway/client.h"

#include <sys/socket.h>

#include <cerrno>

namespace gpuward::gateway {
namespace {

/// Longer than browsers and proxies wait, so that it is mostly they who close (nginx: 75 s).
constexpr Duration kIdle = std::chrono::seconds(90);
constexpr Duration kAnswerWithin = std::chrono::seconds(30);
constexpr Duration kLinger = std::chrono::seconds(2);
constexpr std::uint64_t kMostDiscarded = 1 << 20;
/// Of who is waited for, in a second.
constexpr double kLeastMoved = 1 << 10;

}  // namespace

Client::Client(Service& service, Accepted accepted)
    : service_(service), peer_(std::move(accepted)), socket_(std::move(peer_.socket)) {}

Result<void> Client::begin() {
  auto watch = shared().loop.watch(socket_, *this);
  if (!watch) return fail(std::move(watch).error());
  watch_ = std::move(*watch);
  expect_within(patience());
  return {};
}

void Client::no_more_requests() {
  last_request_ = true;
  if (phase_ == Phase::head && bytes_.empty()) end();
}

void Client::on_ready(http::Ready ready) {
  unread_ = unread_ || ready.readable || ready.peer_closed;
  peer_closed_ = peer_closed_ || ready.peer_closed;
  act();
}

void Client::act() {
  switch (phase_) {
    case Phase::head:
      return read_head();
    case Phase::body:
      return receive_body();
    case Phase::waiting:
      if (has_left()) end();
      return;
    case Phase::exchange:
      if (!exchange_->tunnel() && has_left() && socket_) return leave_exchange();
      return advance();
    case Phase::answering:
      return go_on_answering();
    case Phase::lingering:
      return drain_lingering();
    case Phase::gone:
      return;
  }
}

void Client::on_deadline() {
  switch (phase_) {
    case Phase::head:
      if (bytes_.empty()) return end();
      request_ = {};
      return answer(
          {.status = 408, .reason = "slow_head", .message = "The request came too slowly."}, false);
    case Phase::body:
      if (!too_slow(received_)) return expect_within(patience());
      return answer(
          {.status = 408, .reason = "slow_body", .message = "The upload came too slowly."}, false);
    case Phase::exchange:
      return exchange_deadline();
    case Phase::answering:
    case Phase::lingering:
      return end();
    case Phase::waiting:
    case Phase::gone:
      return;
  }
}

void Client::expect_within(Duration limit) {
  watch_.set_deadline(shared().loop.now() + limit);
}

bool Client::too_slow(std::uint64_t moved) {
  const double least = kLeastMoved * std::chrono::duration<double>(patience()).count();
  const bool slow = static_cast<double>(moved - moved_before_) < least;
  moved_before_ = moved;
  return slow;
}

void Client::next_request() {
  request_ = {};
  body_scan_.reset();
  body_.reset();
  own_answer_.reset();
  scan_ = {};
  received_ = moved_before_ = 0;
  phase_ = Phase::head;
  if (last_request_ && bytes_.empty()) return end();
  expect_within(kIdle);
  // Not at once: a client that sends many requests together must not keep the others waiting.
  if (!bytes_.empty() || unread_) watch_.again();
}

void Client::answer(const OwnAnswer& answer, bool body_is_read) {
  const AnswerStyle style{.page = request_.wants_page,
                          .head_only = request_.asked.head,
                          .persistence = body_is_read && !last_request_ ? request_.persistence
                                                                        : http::Persistence::close,
                          .request_id = request_.shown_id()};
  stays_after_answer_ = style.persistence != http::Persistence::close;
  body_.reset();
  own_answer_.emplace(shared().buffers, http::Framing{}, write_answer(answer, style),
                      std::string_view());
  phase_ = Phase::answering;
  expect_within(kAnswerWithin);
  go_on_answering();
}

void Client::go_on_answering() {
  switch (own_answer_->run(socket_, socket_)) {
    case http::Pump::State::wants_room:
      return;
    case http::Pump::State::done:
      return stays_after_answer_ ? next_request() : linger();
    default:
      return end();
  }
}

void Client::linger() {
  if (peer_closed_) return end();
  ::shutdown(socket_.get(), SHUT_WR);
  phase_ = Phase::lingering;
  bytes_ = {};
  discarded_ = 0;
  expect_within(kLinger);
  drain_lingering();
}

void Client::drain_lingering() {
  auto buffer = shared().buffers.take();
  while (true) {
    const ssize_t count =
        ::recv(socket_.get(), buffer.data(), http::BufferPool::kSize, MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return end();
    discarded_ += static_cast<std::uint64_t>(count);
    if (discarded_ > kMostDiscarded) return end();
  }
}

void Client::end() {
  if (phase_ == Phase::gone) return;
  phase_ = Phase::gone;
  if (job_ && (exchange_ || !service_.cancel(*job_))) service_.finish(*job_, JobEnd::cancelled);
  job_.reset();
  drop_exchange();
  body_.reset();
  watch_.reset();
  socket_.close();
  service_.lay_aside(*this);
}

void Client::cut() {
  watch_.reset();
  if (socket_) cut_off(std::move(socket_));
  end();
}

}  // namespace gpuward::gateway
