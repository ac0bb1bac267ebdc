#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/kept_body.h"
#include "gateway/upstream.h"
#include "http/pump.h"
#include "http/rewrite.h"

namespace gpuward::gateway {

/// What a replica is sent, and how its answer goes on.
struct Outgoing {
  std::string head;          ///< as rewritten for the replica
  KeptBody* body = nullptr;  ///< whole; else what `streamed` says is passed on as it comes
  http::Framing streamed{};  ///< of a body that the client is still sending
  std::string came;          ///< what has come of that already, and perhaps of what follows it
  http::Asked asked;
  http::Persistence persistence = http::Persistence::implied;  ///< what the client's side allows
  bool ends_with_done = false;  ///< a stream of events that ends well says "data: [DONE]" last
  std::string_view request_id;  ///< outlives the exchange
};

// clang-format off
// One request at one replica, from its first byte there to the last byte of the answer.
//
//     request:   head and body -> replica                      done | broken (an answer may have come all the same)
//     answer:    [1xx]* head -> rewritten -> body -> client    done
//     101:       both become a tunnel; over when both directions have ended
//
// Nothing is held back and nothing is joined: what is read is sent before more is read. While nobody has
// anything to say it holds no buffer. Once the client is gone (`abandon`), the answer is read and thrown
// away, so that its end is known.
// clang-format on
class Exchange {
 public:
  enum class State : std::uint8_t {
    going,        ///< call run() again when either side is ready
    wants_turn,   ///< or soon: others have waited
    done,         ///< the answer is whole
    unreached,    ///< the replica was sent nothing
    no_answer,    ///< it was, and closed without a byte
    bad_answer,   ///< what it said is no HTTP; the client was sent nothing
    cut_off,      ///< its answer ended in the middle, or went wrong there: the client has a part
    client_lost,  ///< nobody takes the answer, or the body ended before its end
    bad_request,  ///< refusal(): the body that was passed on is none
    not_kept,     ///< the kept body could not be read back
  };

  /// @p pool and @p outgoing.body outlive it.
  Exchange(http::BufferPool& pool, std::unique_ptr<Upstream> upstream, Outgoing outgoing);

  /// Never waits. Whatever is not going or wants_turn is final.
  State run(const os::Fd& client);
  /// From now on @p client of run() may be anything.
  void abandon();
  /// To be told before run().
  void on_upstream(http::Ready ready);

  /// The status of the answer; 0: none has come.
  int status() const { return status_; }
  bool answered() const { return status_ >= 200 || tunnel_; }
  bool tunnel() const { return tunnel_; }
  /// The client is what is waited for: to send, or to take.
  bool waits_for_client() const { return waits_for_client_; }
  /// Bytes to and from the client, to see that it goes on.
  std::uint64_t moved() const;
  bool request_is_sent() const { return request_done_; }
  /// The answer had no body where one belongs.
  bool empty_answer() const;
  /// A stream of events that has ended without saying so.
  bool ended_without_done() const;
  /// The answer was an error that told of memory running out.
  bool out_of_memory() const { return out_of_memory_; }
  /// After done: the client's connection may carry another request.
  bool client_may_stay() const { return client_may_stay_; }
  /// After done: what came behind the body that was passed on.
  std::string_view leftover() const { return to_upstream_->rest(); }
  const http::Refusal& refusal() const { return refusal_; }
  /// After done: the connection, if it can be used again.
  std::unique_ptr<Upstream> take_reusable();

 private:
  /// True: something came, go on. False: nothing more is there.
  using Read = std::expected<bool, State>;
  State send_request(const os::Fd& client);
  State send_rest_of_kept();
  State pass_answer(const os::Fd& client);
  Read read_answer_head();
  Read begin_answer(std::string_view bytes, std::size_t head_size);
  void begin_tunnel();
  State answer_done();
  void look_for_out_of_memory();
  State run_tunnel(const os::Fd& client);

  http::BufferPool& pool_;
  std::unique_ptr<Upstream> upstream_;
  KeptBody* body_;
  http::Asked asked_;
  http::Persistence persistence_;
  std::string_view request_id_;
  bool ends_with_done_;

  std::optional<http::Pump> to_upstream_;
  http::BufferPool::Buffer piece_;  ///< of the part of the kept body that is in its file
  std::size_t piece_begin_ = 0;
  std::size_t piece_end_ = 0;
  std::uint64_t rest_read_ = 0;
  std::optional<http::Pump> to_client_;
  http::HeadScan scan_;
  std::string came_;                    ///< of the answer's head
  http::Framing framing_;               ///< of the answer's body
  std::uint64_t head_size_ = 0;         ///< of the answer, as passed on
  std::uint64_t to_client_before_ = 0;  ///< bytes of interim answers
  http::Refusal refusal_;
  int status_ = 0;
  bool request_done_ = false;
  bool request_broken_ = false;
  bool upstream_readable_ = false;
  bool interim_ = false;
  bool upstream_may_stay_ = false;
  bool client_may_stay_ = false;
  bool out_of_memory_ = false;
  bool tunnel_ = false;
  bool is_events_ = false;  ///< of a stream that says when it is done
  bool abandoned_ = false;
  bool waits_for_client_ = false;
  bool wants_turn_ = false;
};

/// An error's text says that the GPU's or the host's memory ran out, as PyTorch and others put it.
bool tells_of_lost_memory(std::string_view text);

}  // namespace gpuward::gateway
