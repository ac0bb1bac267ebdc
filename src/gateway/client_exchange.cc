// A client's request at a replica.

#include <sys/socket.h>

#include <algorithm>

#include "gateway/client.h"

namespace gpuward::gateway {
namespace {

/// A connection inside one machine that takes longer is none.
constexpr Duration kConnectWithin = std::chrono::seconds(5);
/// For the other side of a tunnel, once one has ended.
constexpr Duration kTunnelEndsWithin = std::chrono::seconds(10);

}  // namespace

void Client::start(ReplicaId id) {
  Replica* replica = service_.replica(id);
  begin_exchange(*replica);
}

void Client::begin_exchange(Replica& replica) {
  phase_ = Phase::exchange;
  replica_ = &replica;
  ++replica.exchanges;
  ++request_.tries;
  exchange_began_ = shared().loop.now();
  moved_before_ = 0;
  auto upstream = replica.connect(*this);
  if (!upstream) return failed_upstream(Exchange::State::unreached);
  const bool streams = request_.pass || request_.asked.websocket;
  Outgoing outgoing{.head = request_.head,
                    .body = body_ ? &*body_ : nullptr,
                    .streamed = request_.pass ? request_.framing : http::Framing{},
                    .came = streams ? std::move(bytes_) : std::string(),
                    .asked = request_.asked,
                    .persistence = last_request_ ? http::Persistence::close : request_.persistence,
                    .ends_with_done = service_.model().protocol == Protocol::openai,
                    .request_id = request_.shown_id()};
  if (streams) bytes_ = {};
  exchange_.emplace(shared().buffers, std::move(*upstream), std::move(outgoing));
  const auto limit = service_.model().job_limit;
  expect_within(job_ && limit ? std::min<Duration>(*limit, kConnectWithin) : kConnectWithin);
  advance();
}

void Client::on_upstream(http::Ready ready) {
  exchange_->on_upstream(ready);
  advance();
}

void Client::advance() {
  switch (const auto state = exchange_->run(socket_)) {
    case Exchange::State::going:
      if (exchange_->tunnel() && peer_closed_) expect_within(kTunnelEndsWithin);
      return;
    case Exchange::State::wants_turn:
      return watch_.again();
    default:
      return exchange_ended(state);
  }
}

void Client::exchange_ended(Exchange::State state) {
  switch (state) {
    case Exchange::State::done:
      return answer_whole();
    case Exchange::State::client_lost:
      return leave_exchange();
    case Exchange::State::cut_off:
      ++service_.counters().cut_off_answers;
      finish_job(exchange_->out_of_memory() ? JobEnd::out_of_memory : JobEnd::failed);
      return cut();
    case Exchange::State::bad_request: {
      const auto refusal = exchange_->refusal();
      const bool answered = exchange_->answered();
      drop_exchange();
      if (answered) return cut();
      return answer(own_answer(refusal), false);
    }
    default:
      return failed_upstream(state);
  }
}

void Client::answer_whole() {
  if (exchange_->empty_answer()) ++service_.counters().empty_answers;
  if (exchange_->ended_without_done()) ++service_.counters().cut_off_answers;
  finish_job(end_of_answer());
  if (exchange_->tunnel() || !socket_) return end();
  if (auto upstream = exchange_->take_reusable()) replica_->put_back(std::move(upstream));
  const bool stays = exchange_->client_may_stay() && !last_request_;
  if (request_.pass && exchange_->request_is_sent()) bytes_ = exchange_->leftover();
  drop_exchange();
  if (stays) return next_request();
  linger();
}

JobEnd Client::end_of_answer() const {
  if (exchange_->out_of_memory()) return JobEnd::out_of_memory;
  if (exchange_->ended_without_done()) return JobEnd::failed;
  // What is refused at once says nothing of how long such a job takes.
  return exchange_->status() < 400 ? JobEnd::done : JobEnd::failed;
}

void Client::failed_upstream(Exchange::State state) {
  const bool unreached = state == Exchange::State::unreached;
  const ReplicaId id = replica_->id();
  drop_exchange();
  if (unreached) service_.not_reached(id);
  if (unreached && try_again()) return;
  finish_job(JobEnd::failed);
  if (!socket_) return end();
  OwnAnswer said{.status = 502, .reason = "replica_lost"};
  if (unreached) {
    said.reason = "replica_unreachable";
    said.message = "The service cannot be reached.";
  } else if (state == Exchange::State::bad_answer) {
    said.reason = "bad_answer";
    said.message = "The service answered something that is no HTTP.";
  } else if (state == Exchange::State::not_kept) {
    said = {
        .status = 500, .reason = "upload_lost", .message = "The upload could not be read back."};
  } else {
    said.message = "The service closed the connection before it answered.";
  }
  answer(said, !request_.pass);
}

bool Client::try_again() {
  const RetryFacts facts{.replica_failed = true,
                         .nothing_answered = true,
                         .not_started = true,
                         .replayable = !request_.pass && !request_.asked.websocket,
                         .client_waits = socket_ && !has_left(),
                         .tries = request_.tries};
  if (!job_ || !may_retry(facts) || !service_.give_back(*job_)) return false;
  phase_ = Phase::waiting;
  watch_.clear_deadline();
  return true;
}

// Nobody waits for the answer any more.
void Client::leave_exchange() {
  const bool drains = job_ && !exchange_->tunnel() &&
                      service_.model().on_client_gone == OnClientGone::drain && socket_;
  if (!drains) {
    finish_job(JobEnd::cancelled);
    return end();
  }
  service_.cancel(*job_);
  watch_.reset();
  socket_.close();
  watch_ = shared().loop.timer(*this);
  exchange_deadline();
  if (phase_ != Phase::exchange) return;
  exchange_->abandon();
  advance();
}

void Client::exchange_deadline() {
  const Duration took = shared().loop.now() - exchange_began_;
  const auto limit = service_.model().job_limit;
  const bool too_long = job_ && limit && took >= *limit && !exchange_->tunnel();
  const bool never_connected = exchange_->moved() == 0 && !exchange_->waits_for_client();
  if (exchange_->tunnel() && peer_closed_) return end();
  if (never_connected && took >= kConnectWithin) return failed_upstream(Exchange::State::unreached);
  if (too_long) {
    const bool answered = exchange_->answered();
    drop_exchange();
    finish_job(JobEnd::failed);
    if (!socket_) return end();
    if (answered) return cut();
    return answer({.status = 504,
                   .reason = "job_limit",
                   .message = "The service did not answer within " + to_string(*limit) + "."},
                  true);
  }
  if (exchange_->waits_for_client() && too_slow(exchange_->moved()) && took >= patience()) {
    finish_job(JobEnd::cancelled);
    return cut();
  }
  Duration next = patience();
  if (job_ && limit) next = std::clamp<Duration>(*limit - took, std::chrono::milliseconds(1), next);
  expect_within(next);
}

void Client::refused(const gpuward::Refusal& refusal) {
  job_.reset();
  answer(own_answer(refusal), true);
}

void Client::cancelled_by_hand() {
  const OwnAnswer said{
      .status = 503, .reason = "cancelled", .message = "The job was cancelled by the operator."};
  if (phase_ == Phase::waiting) {
    if (!service_.cancel(*job_)) service_.finish(*job_, JobEnd::cancelled);
    job_.reset();
    return answer(said, true);
  }
  const bool answered = exchange_->answered();
  drop_exchange();
  finish_job(JobEnd::cancelled);
  if (!socket_) return end();
  if (answered) return cut();
  answer(said, true);
}

void Client::finish_job(JobEnd end) {
  if (!job_) return;
  const JobId job = *job_;
  job_.reset();
  service_.finish(job, end);
}

void Client::drop_exchange() {
  if (replica_ != nullptr) --replica_->exchanges;
  replica_ = nullptr;
  exchange_.reset();
}

}  // namespace gpuward::gateway
