#include "domain/memory_gate.h"

#include <algorithm>
#include <cassert>

namespace gpuward {

Reservation::Reservation(Reservation&& other) noexcept
    : account_(std::exchange(other.account_, nullptr)),
      bytes_(other.bytes_),
      size_(other.size_),
      alone_(other.alone_) {}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  if (account_ != nullptr) release(account_->last_now_);
  account_ = std::exchange(other.account_, nullptr);
  bytes_ = other.bytes_;
  size_ = other.size_;
  alone_ = other.alone_;
  return *this;
}

Reservation::~Reservation() {
  if (account_ != nullptr) release(account_->last_now_);
}

void Reservation::release(Instant now) {
  if (account_ != nullptr) std::exchange(account_, nullptr)->give_back(*this, now);
}

void MemoryPool::see(Bytes total, Bytes others) {
  total_ = total;
  others_ = others;
}

Bytes MemoryPool::guard() const {
  return std::max(1_GiB, Bytes{total_.count / 25});
}

Bytes MemoryPool::spoken_for() const {
  Bytes all = others_;
  for (const MemoryAccount* account : accounts_) all += account->spoken_for();
  return all;
}

std::uint32_t MemoryPool::jobs() const {
  std::uint32_t all = 0;
  for (const MemoryAccount* account : accounts_) all += account->jobs();
  return all;
}

MemoryAccount::MemoryAccount(MemoryPool& pool) : pool_(pool) {
  pool_.accounts_.push_back(this);
}

MemoryAccount::~MemoryAccount() {
  assert(load_.jobs == 0 && "reservations go before their account");
  std::erase(pool_.accounts_, this);
}

Bytes MemoryAccount::spoken_for() const {
  return std::max(held_, base() + reserved_);
}

// What all of its jobs together may have, with nobody else's in flight.
Bytes MemoryAccount::room_alone(bool strangers_gone) const {
  Bytes room = pool_.total_ - pool_.guard();
  for (const MemoryAccount* account : pool_.accounts_) room = room - account->base();
  return strangers_gone ? room : room - pool_.others_;
}

Reservation MemoryAccount::grant(Bytes bytes, Bytes size, bool alone, Instant now) {
  const double brought = footprint_size(size);
  reserved_ += bytes;
  ++load_.jobs;
  load_.size += brought;
  alone_ = alone;
  note_change(now);
  return {*this, bytes, brought, alone};
}

std::expected<Reservation, NoRoom> MemoryAccount::reserve(Bytes size, Instant now) {
  if (!pool_.known()) return grant({}, size, false, now);
  const Bytes most = room_alone(false);
  // Of a process that was not looked at yet nothing is known.
  const auto learned = base_ ? footprint_.need(footprint_size(size)) : std::nullopt;
  const Bytes need = std::min(learned.value_or(most), most);
  if (pool_.jobs() == 0) return grant(need, size, !learned, now);

  const bool occupied = std::ranges::any_of(pool_.accounts_, &MemoryAccount::alone_);
  const Bytes before = pool_.spoken_for();
  const Bytes after = before - spoken_for() + std::max(held_, base() + reserved_ + need);
  const Bytes limit = pool_.total_ - pool_.guard();
  // What a replica holds already takes nothing from anybody.
  if (learned && !occupied && (after <= limit || after == before))
    return grant(need, size, false, now);
  return std::unexpected(NoRoom{.needed = need, .available = limit - before});
}

std::optional<NoRoom> MemoryAccount::never_fits(Bytes size, Instant now) const {
  if (!pool_.known()) return std::nullopt;
  const double brought = footprint_size(size);
  if (brought <= footprint_.largest()) return std::nullopt;
  const Bytes room = room_alone(true);
  if (failed_alone_ && brought >= *failed_alone_ && now - failed_at_ < kRefusedFor) {
    const Bytes guess{static_cast<std::uint64_t>(footprint_.per_size() * brought)};
    return NoRoom{.never = true, .needed = std::max(guess, room), .available = room};
  }
  if (const auto need = footprint_.certain_need(brought); need && *need > room)
    return NoRoom{.never = true, .needed = *need, .available = room};
  return std::nullopt;
}

void MemoryAccount::give_back(const Reservation& reservation, Instant now) {
  reserved_ = reserved_ - reservation.bytes_;
  --load_.jobs;
  // Sums of doubles leave crumbs.
  load_.size = load_.jobs == 0 ? 0 : load_.size - reservation.size_;
  if (reservation.alone_) alone_ = false;
  note_change(now);
}

// What is tried and given back within one moment leaves no trace.
void MemoryAccount::note_change(Instant now) {
  last_now_ = std::max(last_now_, now);
  if (!changes_.empty() && changes_.back().at == last_now_) changes_.pop_back();
  if (!changes_.empty() && changes_.back().load == load_) return;
  changes_.push_back({.at = last_now_, .load = load_});
  if (changes_.size() > kChanges) changes_.pop_front();
}

Load MemoryAccount::load_at(Instant when) const {
  Load load = changes_.empty() ? load_ : changes_.front().load;
  for (const Change& change : changes_) {
    if (change.at > when) break;
    load = change.load;
  }
  return load;
}

// A peak tells something only where memory grew: a cache that is kept looks like a peak for ever.
void MemoryAccount::see(const HeldSample& sample, Instant now) {
  last_now_ = std::max(last_now_, now);
  const bool grew = sample.peak > held_;
  const Load load = load_at(sample.peak_at);
  if (base_ && grew && load.jobs > 0) footprint_.see_peak(sample.peak - *base_, load);
  held_ = sample.held;
  base_ = base_ ? std::min(*base_, held_) : held_;
  last_sample_ = now;
}

bool MemoryAccount::fresh(Instant now) const {
  return last_sample_ && now - *last_sample_ <= kFreshFor;
}

void MemoryAccount::see_job(Bytes size, Instant now) {
  if (fresh(now)) footprint_.see_job(footprint_size(size));
}

void MemoryAccount::see_failure(Bytes size, Instant now) {
  if (!pool_.known()) return;
  const Bytes elsewhere = pool_.spoken_for() - spoken_for();
  const Bytes room = pool_.total_ - elsewhere - base();
  footprint_.see_peak(room, load_);
  const bool alone = pool_.jobs() == 1 && load_.jobs == 1;
  if (!alone || pool_.others_ > pool_.guard()) return;
  failed_alone_ = footprint_size(size);
  failed_at_ = now;
}

void MemoryAccount::restart() {
  base_.reset();
  held_ = {};
  changes_.clear();
}

}  // namespace gpuward
