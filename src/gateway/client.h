#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/answers.h"
#include "gateway/exchange.h"
#include "gateway/kept_body.h"
#include "gateway/service.h"
#include "gateway/sockets.h"
#include "http/head.h"
#include "http/loop.h"
#include "http/pump.h"

namespace gpuward::gateway {

// clang-format off
// One connection of a client, over all its requests.
//
//   head ----> body ----> waiting ----> exchange ----> head (kept) | gone
//     |          |           |              |
//     +----------+-----------+--------------+--> answering (what we say ourselves) --> head | lingering --> gone
//
//   head       reads the next request's head; between requests it holds no memory
//   body       all of the body comes before the job may take a place: a slow upload keeps nobody waiting
//   waiting    its job stands in the queue; that the client leaves is seen at once, and the job forgotten
//   exchange   at a replica, or in a tunnel. When the client leaves: closed, or read to its end
//   answering  our own answer goes out
//   lingering  what the client still sends is read and thrown away for a moment, so that the answer
//              is not lost by a reset (RFC 9112, 9.6)
//
// What `pass` routes name is no job: no body is kept, it begins at once.
// clang-format on
class Client final : public http::Handler, public UpstreamUser, public JobOwner {
 public:
  /// @p service  outlives it.
  Client(Service& service, Accepted accepted);
  /// Errors: as epoll_ctl(2).
  Result<void> begin();
  /// What is under way is finished, then it closes.
  void no_more_requests();

  void on_ready(http::Ready ready) override;
  void on_deadline() override;
  void on_upstream(http::Ready ready) override;
  void start(ReplicaId replica) override;
  void refused(const gpuward::Refusal& refusal) override;
  void cancelled_by_hand() override;
  bool client_is_gone() const override { return !socket_; }

 private:
  enum class Phase : std::uint8_t { head, body, waiting, exchange, answering, lingering, gone };
  /// Of the request that is under way.
  struct Request {
    std::string head;  ///< as the replica gets it
    http::Asked asked;
    http::Persistence persistence = http::Persistence::close;
    http::Framing framing;
    JobClass job_class = JobClass::interactive;
    std::uint32_t route = 0;
    std::uint32_t tries = 0;
    bool pass = false;
    bool wants_page = false;
    bool half_close = false;  ///< closing its sending side does not mean that it has left
    char id[17] = "";
    std::string client_id;  ///< the one it brought, if any
    std::string_view shown_id() const {
      return client_id.empty() ? std::string_view(id) : client_id;
    }
  };

  Shared& shared() const { return service_.shared(); }
  void act();
  // client.cc: between requests, and the end
  void next_request();
  void linger();
  void drain_lingering();
  void answer(const OwnAnswer& answer, bool body_is_read);
  void go_on_answering();
  void end();
  void cut();
  bool has_left() const { return peer_closed_ && !request_.half_close; }
  void expect_within(Duration limit);
  Duration patience() const { return service_.model().patience; }
  bool too_slow(std::uint64_t moved);
  void exchange_deadline();
  // client_request.cc: until the request is whole
  void read_head();
  void take_head(const http::RequestHead& head, std::string_view rest);
  void name_request(const http::RequestHead& head);
  void write_head(const http::RequestHead& head);
  void receive_body();
  bool keep_body(std::string_view bytes);
  void enter_queue();
  // client_exchange.cc: at a replica
  void begin_exchange(Replica& replica);
  void advance();
  void exchange_ended(Exchange::State state);
  void answer_whole();
  void failed_upstream(Exchange::State state);
  bool try_again();
  void leave_exchange();
  void finish_job(JobEnd end);
  void drop_exchange();
  JobEnd end_of_answer() const;

  Service& service_;
  Accepted peer_;
  os::Fd socket_;
  http::Loop::Watch watch_;  // goes before its descriptor
  Phase phase_ = Phase::head;
  bool unread_ = false;  ///< there may be bytes that nobody has read
  bool peer_closed_ = false;
  bool last_request_ = false;
  std::string bytes_;  ///< read, and not used yet
  http::HeadScan scan_;
  Request request_;
  std::optional<http::BodyScan> body_scan_;
  std::optional<KeptBody> body_;
  std::optional<JobId> job_;
  Replica* replica_ = nullptr;
  std::optional<Exchange> exchange_;
  std::optional<http::Pump> own_answer_;
  bool stays_after_answer_ = false;
  std::uint64_t discarded_ = 0;
  Instant exchange_began_;
  // Whether the client goes on: bytes at the last look.
  std::uint64_t moved_before_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace gpuward::gateway
