#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// Sends a signal to a container through its engine's Unix socket: POST /containers/ID/kill, of
/// which only the status line counts. Docker and podman (podman system service) speak it. Each
/// socket has a second; an engine that hangs or is gone costs no more. Non-blocking: the owner
/// polls fd() for events() and calls advance() on either and at next(). Allocates nothing.
class EngineCall {
 public:
  static constexpr auto kAttempt = std::chrono::seconds(1);
  static constexpr std::size_t kMostSockets = 4;

  /// What the engine's answer means for the container.
  enum class Answer : std::uint8_t {
    none,         ///< no engine answered
    signalled,    ///< 2xx: it runs, and has the signal
    not_running,  ///< 409
    unknown,      ///< 404, of every socket that answered
    refused,      ///< anything else
  };

  EngineCall() = default;
  /// @p sockets must outlive it; tried in this order, at most kMostSockets.
  explicit EngineCall(const std::vector<std::string>& sockets) : sockets_(&sockets) {}

  /// A call under way is given up. @p id as engines write it, @p signal like "SIGKILL".
  void start(std::string_view id, std::string_view signal, Instant now);
  bool busy() const { return step_ != Step::idle; }
  int fd() const { return socket_.get(); }
  short events() const;
  /// When advance() is due without an event.
  Instant next() const { return busy() ? next_ : Instant::max(); }
  /// True when a call has just ended; answer() then holds.
  bool advance(Instant now);

  Answer answer() const { return answer_; }
  /// Did the first socket give the answer, or an answer at all for `unknown`?
  bool first_answered() const { return first_answered_; }

 private:
  enum class Step : std::uint8_t { idle, sending, reading };
  void try_next(Instant now);
  void attempt(const std::string& path, Instant now);
  void send_request(Instant now);
  void read_status(Instant now);
  void take(int status, Instant now);

  const std::vector<std::string>* sockets_ = nullptr;
  Step step_ = Step::idle;
  std::size_t at_ = 0;  // the socket after the one that is tried
  Text<256> request_;
  std::size_t sent_ = 0;
  char line_[64] = {};
  std::size_t line_size_ = 0;
  Instant next_{};
  os::Fd socket_;
  Answer answer_ = Answer::none;
  bool first_answered_ = false;
};

}  // namespace gpuward::anchor
