#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "base/units.h"
#include "domain/service.h"
#include "os/fd.h"
#include "os/socket.h"

namespace gpuward::anchor {

/// Asks a service whether it is ready: a TCP connection, or one GET of which only the status line
/// counts, each attempt with a deadline, again after a growing pause. The rest of the answer is
/// read and thrown away, for at most a second: a server that is cut off in its answer would
/// complain. Non-blocking: the owner polls fd() for events() and calls advance() on either and at
/// next().
class Probe {
 public:
  static constexpr auto kFirstPause = std::chrono::milliseconds(20);
  static constexpr auto kLongestPause = std::chrono::milliseconds(500);
  static constexpr auto kAttempt = std::chrono::seconds(5);
  static constexpr auto kDrain = std::chrono::seconds(1);

  Probe() = default;
  /// @p ready must outlive the probe; its address is numeric.
  explicit Probe(const Readiness& ready);

  bool active() const { return active_; }
  void start(Instant now);
  void stop();

  int fd() const { return socket_.get(); }
  short events() const;
  /// When advance() is due without an event.
  Instant next() const { return active_ ? next_ : Instant::max(); }

  /// True once the service has answered well; evidence() then says how.
  bool advance(Instant now);
  const Text<64>& evidence() const { return evidence_; }
  std::uint16_t port() const { return address_ ? address_->port() : 0; }
  /// What the last failed attempt met: "answered 503", "refused the connection".
  const Text<40>& failure() const { return failure_; }
  /// How many attempts have failed since start().
  std::uint32_t refused() const { return refused_; }
  /// The answer did not count after all (somebody else gave it): try again after a pause.
  void retry(Instant now);

 private:
  enum class Step : std::uint8_t { pause, connecting, sending, reading, draining };
  void attempt(Instant now);
  bool answered(Instant now);
  bool read_status(Instant now);
  bool drain(Instant now);
  void fail_attempt(std::string_view why, Instant now);

  const Readiness* ready_ = nullptr;
  std::optional<os::TcpAddress> address_;
  bool active_ = false;
  Step step_ = Step::pause;
  Duration pause_ = kFirstPause;
  std::uint32_t refused_ = 0;
  Instant next_{};
  os::Fd socket_;
  char line_[64] = {};
  std::size_t line_size_ = 0;
  std::size_t sent_ = 0;
  int status_ = 0;
  std::size_t drained_ = 0;
  Text<64> evidence_;
  Text<40> failure_;
};

}  // namespace gpuward::anchor
