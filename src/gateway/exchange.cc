#include "gateway/exchange.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace gpuward::gateway {

using http::Framing;
using PumpState = http::Pump::State;

namespace {

bool is_event_stream(const http::Fields& fields) {
  for (const auto& field : fields)
    if (http::equal_names(field.name, "content-type"))
      return field.value.starts_with("text/event-stream");
  return false;
}

}  // namespace

Exchange::Exchange(http::BufferPool& pool, std::unique_ptr<Upstream> upstream, Outgoing outgoing)
    : pool_(pool),
      upstream_(std::move(upstream)),
      body_(outgoing.body),
      asked_(outgoing.asked),
      persistence_(outgoing.persistence),
      request_id_(outgoing.request_id),
      ends_with_done_(outgoing.ends_with_done) {
  if (body_ != nullptr) outgoing.head += body_->start();
  to_upstream_.emplace(pool_, outgoing.streamed, std::move(outgoing.head), outgoing.came);
}

void Exchange::abandon() {
  abandoned_ = true;
  if (to_client_) to_client_->discard();
}

void Exchange::on_upstream(http::Ready ready) {
  upstream_readable_ = upstream_readable_ || ready.readable || ready.peer_closed;
}

Exchange::State Exchange::run(const os::Fd& client) {
  waits_for_client_ = wants_turn_ = false;
  if (tunnel_) return run_tunnel(client);
  if (!request_done_ && !request_broken_) {
    const State state = send_request(client);
    if (state != State::going) return state;
  }
  const State state = pass_answer(client);
  if (state == State::going && tunnel_) return run_tunnel(client);
  return state == State::going && wants_turn_ ? State::wants_turn : state;
}

// A replica that takes no more may have said why: its answer is read all the same.
Exchange::State Exchange::send_request(const os::Fd& client) {
  switch (to_upstream_->run(client, upstream_->socket())) {
    case PumpState::done:
      return send_rest_of_kept();
    case PumpState::wants_bytes:
      waits_for_client_ = true;
      return State::going;
    case PumpState::wants_room:
      return State::going;
    case PumpState::wants_turn:
      wants_turn_ = true;
      return State::going;
    case PumpState::cut_off:
    case PumpState::sender_lost:
      return State::client_lost;
    case PumpState::receiver_lost:
      request_broken_ = upstream_readable_ = true;
      return State::going;
    case PumpState::malformed:
      refusal_ = to_upstream_->refusal();
      return State::bad_request;
  }
  return State::going;
}

Exchange::State Exchange::send_rest_of_kept() {
  SpillFile* rest = body_ != nullptr ? body_->rest() : nullptr;
  constexpr int kPiecesInOneTurn = 4;
  for (int pieces = 0; rest != nullptr;) {
    if (piece_begin_ == piece_end_) {
      if (rest_read_ == rest->size()) break;
      if (++pieces > kPiecesInOneTurn) {
        wants_turn_ = true;
        return State::going;
      }
      if (!piece_) piece_ = pool_.take();
      const auto count = rest->read(rest_read_, piece_.data(), http::BufferPool::kSize);
      if (!count || *count == 0) return State::not_kept;
      rest_read_ += *count;
      piece_begin_ = 0;
      piece_end_ = *count;
    }
    const ssize_t sent = ::send(upstream_->socket().get(), piece_.data() + piece_begin_,
                                piece_end_ - piece_begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      piece_begin_ += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      return State::going;
    } else if (errno != EINTR) {
      request_broken_ = upstream_readable_ = true;
      break;
    }
  }
  piece_.give_back();
  request_done_ = !request_broken_;
  return State::going;
}

Exchange::State Exchange::pass_answer(const os::Fd& client) {
  while (!tunnel_) {
    if (!to_client_) {
      if (!upstream_readable_ && came_.empty()) return State::going;
      const auto read = read_answer_head();
      if (!read) return read.error();
      if (!*read) return State::going;
      continue;
    }
    to_client_->trust_short_reads(!upstream_->peer_closed());
    if (status_ >= 500 && !out_of_memory_) look_for_out_of_memory();
    switch (to_client_->run(upstream_->socket(), client)) {
      case PumpState::done:
        if (!interim_) return answer_done();
        came_ = to_client_->rest();
        to_client_before_ += to_client_->sent();
        to_client_.reset();
        interim_ = false;
        upstream_readable_ = true;  // what came meanwhile was told to the pump
        break;
      case PumpState::wants_bytes:
        return State::going;
      case PumpState::wants_room:
        waits_for_client_ = true;
        return State::going;
      case PumpState::wants_turn:
        wants_turn_ = true;
        return State::going;
      case PumpState::cut_off:
      case PumpState::sender_lost:
      case PumpState::malformed:
        return State::cut_off;
      case PumpState::receiver_lost:
        return State::client_lost;
    }
  }
  return State::going;
}

Exchange::Read Exchange::read_answer_head() {
  auto buffer = pool_.take();
  std::size_t have = came_.size();
  std::memcpy(buffer.data(), came_.data(), have);
  came_ = {};
  while (true) {
    if (have > 0) {
      const auto end = scan_.find_end({buffer.data(), have});
      if (!end) return std::unexpected(State::bad_answer);
      if (*end > 0) return begin_answer({buffer.data(), have}, *end);
    }
    const std::size_t room = http::BufferPool::kSize - 1 - have;
    const ssize_t count =
        ::recv(upstream_->socket().get(), buffer.data() + have, room, MSG_DONTWAIT);
    if (count > 0) {
      have += static_cast<std::size_t>(count);
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      upstream_readable_ = false;
      came_.assign(buffer.data(), have);
      return false;
    }
    if (have > 0) return std::unexpected(State::bad_answer);
    return std::unexpected(to_upstream_->sent() == 0 ? State::unreached : State::no_answer);
  }
}

Exchange::Read Exchange::begin_answer(std::string_view bytes, std::size_t head_size) {
  const auto response = http::parse_response(bytes.substr(0, head_size), asked_);
  if (!response) return std::unexpected(State::bad_answer);
  const auto rest = bytes.substr(head_size);
  scan_ = {};
  interim_ = response->interim();
  if (interim_ && asked_.minor == 0) {  // it would not understand it
    came_ = rest;
    interim_ = false;
    return true;
  }
  const auto persistence = request_done_ ? persistence_ : http::Persistence::close;
  std::string head;
  head.reserve(head_size + 64);
  const http::Field id{"X-Request-Id", request_id_};
  http::write_response(*response, {&id, interim_ || request_id_.empty() ? 0U : 1U}, persistence,
                       head);
  if (!interim_) {
    status_ = response->status;
    framing_ = response->framing;
    head_size_ = head.size();
    upstream_may_stay_ = response->keep_alive;
    out_of_memory_ = status_ >= 500 && tells_of_lost_memory(rest);
    client_may_stay_ =
        persistence != http::Persistence::close && framing_.kind != Framing::Kind::until_close;
  }
  to_client_.emplace(pool_, interim_ ? Framing{} : response->framing, std::move(head), rest);
  if (abandoned_) to_client_->discard();
  is_events_ = !interim_ && ends_with_done_ && status_ == 200 && is_event_stream(response->fields);
  if (is_events_) to_client_->keep_tail();
  if (!interim_ && framing_.kind == Framing::Kind::tunnel) begin_tunnel();
  return true;
}

void Exchange::begin_tunnel() {
  tunnel_ = true;
  upstream_may_stay_ = client_may_stay_ = false;
  const std::string early(to_upstream_->rest());
  to_upstream_.emplace(pool_, Framing{.kind = Framing::Kind::tunnel}, std::string(), early);
}

Exchange::State Exchange::answer_done() {
  upstream_may_stay_ = upstream_may_stay_ && request_done_ && to_client_->rest().empty() &&
                       !upstream_->peer_closed();
  return State::done;
}

// Most servers send the head of an error before its text.
void Exchange::look_for_out_of_memory() {
  char text[4096];
  const ssize_t count =
      ::recv(upstream_->socket().get(), text, sizeof text, MSG_PEEK | MSG_DONTWAIT);
  if (count <= 0) return;
  out_of_memory_ = tells_of_lost_memory({text, static_cast<std::size_t>(count)});
}

// Each direction ends by itself; once one is broken, so is the other.
Exchange::State Exchange::run_tunnel(const os::Fd& client) {
  const auto ended = [&](std::optional<http::Pump>& pump, const os::Fd& from, const os::Fd& to) {
    if (!pump) return false;
    switch (pump->run(from, to)) {
      case PumpState::wants_turn:
        wants_turn_ = true;
        return false;
      case PumpState::wants_bytes:
      case PumpState::wants_room:
        return false;
      case PumpState::done:
      case PumpState::cut_off:
        ::shutdown(to.get(), SHUT_WR);
        pump.reset();
        return false;
      default:
        return true;
    }
  };
  if (ended(to_upstream_, client, upstream_->socket()) ||
      ended(to_client_, upstream_->socket(), client) || (!to_upstream_ && !to_client_))
    return State::done;
  return wants_turn_ ? State::wants_turn : State::going;
}

std::uint64_t Exchange::moved() const {
  return (to_upstream_ ? to_upstream_->sent() : 0) + (to_client_ ? to_client_->sent() : 0) +
         to_client_before_;
}

bool Exchange::empty_answer() const {
  if (status_ != 200 || asked_.head || !to_client_) return false;
  constexpr std::string_view kNoChunks = "0\r\n\r\n";
  const std::uint64_t body = to_client_->sent() - head_size_;
  return framing_.kind == Framing::Kind::chunked ? body <= kNoChunks.size() : body == 0;
}

bool Exchange::ended_without_done() const {
  return is_events_ && to_client_ && to_client_->tail().find("[DONE]") == std::string_view::npos;
}

std::unique_ptr<Upstream> Exchange::take_reusable() {
  return upstream_may_stay_ ? std::move(upstream_) : nullptr;
}

bool tells_of_lost_memory(std::string_view text) {
  return text.find("out of memory") != std::string_view::npos ||
         text.find("OutOfMemory") != std::string_view::npos;
}

}  // namespace gpuward::gateway
