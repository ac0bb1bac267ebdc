#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "http/body.h"
#include "http/buffers.h"
#include "os/fd.h"

namespace gpuward::http {

/// Passes one message on, from one socket to another: its head as rewritten, then its body as it
/// comes. What was read is sent before more is read, so nothing is held back, two events are not
/// made one, and a slow receiver slows its sender; no more than one buffer is held, and none while
/// there is nothing to send. One direction of an exchange, or of a tunnel.
class Pump {
 public:
  enum class State : std::uint8_t {
    wants_bytes,    ///< call again when @p from is readable
    wants_room,     ///< call again when @p to is writable
    wants_turn,     ///< there may be more to do, but others have waited: call again soon
    done,           ///< all is passed on; rest() is what came behind it
    cut_off,        ///< the sender closed in the middle
    sender_lost,    ///< its connection is broken
    receiver_lost,  ///< nobody takes the rest
    malformed,      ///< refusal() says why; nothing of it and behind it was passed on
  };

  /// @param head  sent first; may be empty.
  /// @param came  what has been read of the body already, and perhaps of what follows it; less
  ///              than BufferPool::kSize bytes.
  Pump(BufferPool& pool, Framing framing, std::string head, std::string_view came);

  /// Never waits. The last four states are final.
  State run(const os::Fd& from, const os::Fd& to);

  /// A read that brings less than it might has brought all there is, and more will be told: with
  /// edge-triggered epoll(7), as long as the sender is not known to have closed. Saves one read for
  /// each event of a stream.
  void trust_short_reads(bool trust) { trusts_short_reads_ = trust; }
  /// From now on nothing is sent: what comes is followed to its end and thrown away.
  void discard() { discards_ = true; }

  /// From now on the last bytes of the body that were passed on are kept: tail().
  void keep_tail() { keeps_tail_ = true; }
  /// At most kTail of them, with what frames them.
  std::string_view tail() const { return tail_; }
  static constexpr std::size_t kTail = 64;

  /// Bytes of head and body that were sent, or thrown away.
  std::uint64_t sent() const { return sent_; }
  /// Once done: bytes that belong to the next message. Valid while this is.
  std::string_view rest() const { return aside_; }
  const Refusal& refusal() const { return refusal_; }

 private:
  /// How many bytes one run may pass on before others have their turn.
  static constexpr std::uint64_t kOneTurn = 128 << 10;

  enum class Step : std::uint8_t { went_on, blocked, lost, ended };
  State pass_on(const os::Fd& from, const os::Fd& to);
  void take_up();
  void put_aside();
  bool something_to_send() const { return head_sent_ < head_.size() || begin_ < passable_; }
  Step send_some(const os::Fd& to);
  void note_sent(std::size_t sent);
  void note_tail(std::string_view passed);
  Step read_some(const os::Fd& from);
  /// Finds how much of what was read may be passed on. False: malformed.
  bool follow();
  void drop_what_was_sent();

  BufferPool& pool_;
  BodyScan scan_;
  std::string head_;
  std::size_t head_sent_ = 0;
  /// What could not be passed on, while no buffer is held: mostly the line end behind a chunk, for
  /// which a string allocates nothing.
  std::string aside_;
  BufferPool::Buffer buffer_;
  // In the buffer: begin_ <= passable_ <= end_. Up to passable_ it may be sent, behind it nothing
  // is known yet, or the next message begins.
  std::size_t begin_ = 0;
  std::size_t passable_ = 0;
  std::size_t end_ = 0;
  std::uint64_t sent_ = 0;
  bool discards_ = false;
  bool trusts_short_reads_ = false;
  bool keeps_tail_ = false;
  bool all_is_read_ = false;  ///< by a short read of this run
  Refusal refusal_;
  std::string tail_;
};

}  // namespace gpuward::http
