#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <utility>
#include <vector>

#include "base/units.h"
#include "domain/footprint.h"

namespace gpuward {

class MemoryAccount;

/// Memory kept for one job, given back when this goes. Move-only. Its account must outlive it.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  /// Gives back as of the last moment that its account knows of.
  ~Reservation();
  void release(Instant now);
  explicit operator bool() const { return account_ != nullptr; }
  Bytes bytes() const { return bytes_; }

 private:
  friend class MemoryAccount;
  Reservation(MemoryAccount& account, Bytes bytes, double size, bool alone)
      : account_(&account), bytes_(bytes), size_(size), alone_(alone) {}
  MemoryAccount* account_ = nullptr;
  Bytes bytes_{};
  double size_ = 0;
  bool alone_ = false;
};

// clang-format off
// One memory that several replicas share: a card's, or the host's. What is spoken for is
//
//     others + sum over replicas of max(what it holds, its base + what is reserved for its jobs)
//
// and stays below total - guard. A replica's cache (it holds more than it needs) is free for its own
// next job and for nobody else's. A pool whose total is unknown keeps nobody out.
// - Where no job is in flight, one is let in whatever was learned: nothing learned locks anybody out.
// - Of a replica whose jobs are unknown, one is let in at a time, and nobody else beside it.
// clang-format on
class MemoryPool {
 public:
  MemoryPool() = default;
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// @p others: held by whoever has no account here.
  void see(Bytes total, Bytes others);
  bool known() const { return total_.count > 0; }
  Bytes total() const { return total_; }
  /// Kept free: 4 %, at least 1 GiB.
  Bytes guard() const;
  Bytes spoken_for() const;
  std::uint32_t jobs() const;

 private:
  friend class MemoryAccount;
  Bytes total_{};
  Bytes others_{};
  std::vector<MemoryAccount*> accounts_;
};

/// Why there is no room: now, or never.
struct NoRoom {
  bool never = false;
  Bytes needed{};
  Bytes available{};  ///< never: with nothing else there; else now
};

/// What a replica holds in one memory, as sampled.
struct HeldSample {
  Bytes held{};       ///< now
  Bytes peak{};       ///< most since the last sample
  Instant peak_at{};  ///< whoever was in flight *then* caused it
};

/// One replica's part of a MemoryPool.
class MemoryAccount {
 public:
  explicit MemoryAccount(MemoryPool& pool);
  ~MemoryAccount();
  MemoryAccount(const MemoryAccount&) = delete;
  MemoryAccount& operator=(const MemoryAccount&) = delete;

  std::expected<Reservation, NoRoom> reserve(Bytes size, Instant now);
  /// Nothing, or that it can never have room.
  std::optional<NoRoom> never_fits(Bytes size, Instant now) const;

  void see(const HeldSample& sample, Instant now);
  /// A job that held a reservation ended well. Learned from only while samples are fresh.
  void see_job(Bytes size, Instant now);
  /// A job failed for want of memory, beside those that are in flight. It still holds its
  /// reservation.
  void see_failure(Bytes size, Instant now);
  /// A new process: it holds nothing, and its base is not known. What jobs need stays known.
  void restart();

  /// Samples come: what is free is known. Without them nothing is learned and nothing forgotten.
  bool fresh(Instant now) const;
  MemoryPool& pool() const { return pool_; }
  /// The least that its process was seen to hold: the model, and nothing of any job.
  Bytes base() const { return base_.value_or(held_); }
  Bytes held() const { return held_; }
  Bytes reserved() const { return reserved_; }
  std::uint32_t jobs() const { return load_.jobs; }
  const Footprint& footprint() const { return footprint_; }

  static constexpr Duration kFreshFor = std::chrono::seconds(3);
  static constexpr Duration kRefusedFor = std::chrono::hours(1);

 private:
  friend class Reservation;
  friend class MemoryPool;
  struct Change {
    Instant at;
    Load load;  ///< since then
  };
  static constexpr std::size_t kChanges = 64;

  void give_back(const Reservation& reservation, Instant now);
  void note_change(Instant now);
  Load load_at(Instant when) const;
  Bytes spoken_for() const;
  Bytes room_alone(bool strangers_gone) const;
  Reservation grant(Bytes bytes, Bytes size, bool alone, Instant now);

  MemoryPool& pool_;
  Footprint footprint_;
  std::optional<Bytes> base_;
  Bytes held_{};
  Bytes reserved_{};
  Load load_;
  bool alone_ = false;          ///< the job in flight wants nobody beside it
  std::deque<Change> changes_;  ///< oldest first, at most kChanges
  std::optional<Instant> last_sample_;
  std::optional<double> failed_alone_;  ///< of this size, with all the room there is
  Instant failed_at_{};
  Instant last_now_{};
};

}  // namespace gpuward
