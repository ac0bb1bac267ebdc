#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "control/wire.h"
#include "os/fd.h"

namespace gpuward::control {

/// Collects frames from bytes that arrive in any pieces. Holds little until a frame announces more,
/// so that a large limit costs nothing; one within kSmall never allocates after construction.
class FrameBuffer {
 public:
  static constexpr std::size_t kSmall = 4096;

  explicit FrameBuffer(std::size_t limit = wire::kMaxSmall)
      : limit_(limit), own_(std::min(limit, kSmall) + wire::kFrameHeader), bytes_(own_) {}
  /// Works in @p room, which must outlive it, and takes no frame that does not fit there. Touches
  /// nothing of it before bytes come.
  explicit FrameBuffer(std::span<std::byte> room)
      : limit_(room.size() - wire::kFrameHeader), bytes_(room) {}
  FrameBuffer(FrameBuffer&&) = default;
  FrameBuffer& operator=(FrameBuffer&&) = default;

  /// Where the next bytes go; never empty unless broken().
  std::span<std::byte> room() { return bytes_.subspan(filled_); }
  void add(std::size_t count) { filled_ += count; }
  /// The next whole body, valid until the next call of anything here; nullopt: more bytes are
  /// needed. Errc::bad_message when a frame announces more than the limit.
  Result<std::optional<wire::Body>> next();
  /// More has come than whole frames.
  bool holds_a_piece() const { return filled_ > taken_; }
  void clear() { filled_ = taken_ = 0; }

 private:
  std::size_t limit_;
  std::vector<std::byte> own_;
  std::span<std::byte> bytes_;  // all of own_, or the room that was given
  std::size_t filled_ = 0;
  std::size_t taken_ = 0;  // bytes of the frame handed out last
};

/// One end of a control connection for programs that may wait: the CLI. Not for event loops.
class Channel {
 public:
  explicit Channel(os::Fd socket, std::size_t limit = wire::kMaxSmall)
      : socket_(std::move(socket)), frames_(limit) {}

  template <class T>
  Result<void> send(const T& message, Instant deadline) {
    std::vector<std::byte> buffer(wire::kMaxSmall + wire::kFrameHeader);
    auto frame = wire::encode(message, buffer);
    if (!frame) return fail(std::move(frame).error());
    return send_bytes(*frame, deadline);
  }
  /// The next body. Errc::timed_out at the deadline, Errc::unreachable when the other end has
  /// closed.
  Result<wire::Body> receive(Instant deadline);
  int fd() const { return socket_.get(); }
  /// Gives the connection up, for an event loop; what was received but not read is lost.
  os::Fd take_socket() { return std::move(socket_); }

 private:
  Result<void> send_bytes(std::span<const std::byte> bytes, Instant deadline);
  os::Fd socket_;
  FrameBuffer frames_;
};

}  // namespace gpuward::control
