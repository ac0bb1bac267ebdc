#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/units.h"
#include "os/fd.h"

namespace gpuward::http {

/// What the kernel has told of a descriptor. Each is told once when it begins to be so: whoever
/// does not read or write until EAGAIN has to remember it, or ask to be called again().
struct Ready {
  bool readable = false;
  bool writable = false;
  /// The peer will send no more, or the connection is broken. Told at once, also behind bytes that
  /// nobody has read yet.
  bool peer_closed = false;
};

/// Whoever is told what happens to one descriptor. It may destroy itself, or any other, in either
/// call; nobody is called who has given up its Watch.
class Handler {
 public:
  virtual void on_ready(Ready ready) = 0;
  virtual void on_deadline() = 0;

 protected:
  ~Handler() = default;
};

/// Waits for many descriptors and deadlines at once (docs/decisions/0032). Belongs to one thread;
/// several loops know nothing of each other.
class Loop {
 public:
  /// The interest in one descriptor, or in a deadline alone; gone when it is destroyed, which must
  /// be before the descriptor is closed and before the loop is.
  class Watch {
   public:
    Watch() = default;
    Watch(Watch&& other) noexcept
        : loop_(std::exchange(other.loop_, nullptr)), slot_(other.slot_) {}
    Watch& operator=(Watch&& other) noexcept {
      if (this != &other) {
        reset();
        loop_ = std::exchange(other.loop_, nullptr);
        slot_ = other.slot_;
      }
      return *this;
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { reset(); }

    explicit operator bool() const { return loop_ != nullptr; }
    void reset();
    /// on_deadline() is called once, at @p when or soon after. Replaces the one before.
    void set_deadline(Instant when);
    void clear_deadline();
    /// on_ready() is called in the next turn even when nothing new is told: for whoever stopped
    /// early so that others have their turn.
    void again();

   private:
    friend class Loop;
    Watch(Loop& loop, std::uint32_t slot) : loop_(&loop), slot_(slot) {}
    Loop* loop_ = nullptr;
    std::uint32_t slot_ = 0;
  };

  /// Errors: as epoll_create1(2).
  static Result<std::unique_ptr<Loop>> make();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  /// Neither @p fd nor @p handler is kept; both outlive the Watch. What is so already is told in
  /// the next turn. Errors: as epoll_ctl(2).
  Result<Watch> watch(const os::Fd& fd, Handler& handler);
  /// A deadline without a descriptor.
  Watch timer(Handler& handler);

  /// When the current turn began: the same for all who are called in it.
  Instant now() const { return now_; }
  /// Waits until something happens, for @p at_most (absent: for ever), and tells it.
  /// Errors: as epoll_wait(2), without EINTR.
  Result<void> turn(std::optional<Duration> at_most = std::nullopt);
  /// Turns until stop() is called in one.
  Result<void> run();
  void stop() { stopped_ = true; }

  std::size_t alarms_for_test() const { return alarms_.size(); }

 private:
  static constexpr Instant kNever = Instant::max();

  struct Slot {
    Handler* handler = nullptr;  ///< nullptr: free
    std::uint32_t generation = 0;
    int fd = -1;
    bool again = false;
    Instant deadline = kNever;
    Instant alarm = kNever;  ///< the first of its entries in alarms_
  };
  /// A slot at one time: what is told of an earlier owner of the same slot does not match.
  struct Key {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
  };
  struct Alarm {
    Instant when;
    Key key;
  };

  explicit Loop(os::Fd epoll);
  std::uint32_t take_slot(Handler& handler);
  void free_slot(std::uint32_t slot);
  Slot* find(Key key);
  Key key_of(std::uint32_t slot) const { return {slot, slots_[slot].generation}; }
  void set_alarm(std::uint32_t slot, Instant when);
  int timeout_ms(std::optional<Duration> at_most) const;
  void tell_deadlines();
  void tell_again();

  os::Fd epoll_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  /// A heap, the first on top. A deadline that moves back leaves its entry where it is: it is set
  /// anew when that comes up. So the deadlines of a busy connection cost nothing.
  std::vector<Alarm> alarms_;
  std::vector<Key> again_;
  Instant now_;
  bool stopped_ = false;
};

}  // namespace gpuward::http
