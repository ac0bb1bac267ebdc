#include "domain/footprint.h"

#include <algorithm>

namespace gpuward {
namespace {

constexpr double kAlike = 0.9;

Bytes to_bytes(double count) {
  constexpr double kMost = 1e18;
  return {static_cast<std::uint64_t>(std::clamp(count, 0.0, kMost))};
}

}  // namespace

void HighMark::Two::see(double value) {
  if (value > first) {
    second = first;
    first = value;
  } else {
    second = std::max(second, value);
  }
}

void HighMark::see(double value) {
  now_.see(value);
}

void HighMark::turn() {
  Two both = before_;
  both.see(now_.first);
  both.see(now_.second);
  twice_ = std::max(both.second, twice_ * kKept);
  before_ = now_;
  now_ = {};
}

double HighMark::value() const {
  return std::max({now_.first, before_.first, twice_});
}

void Footprint::Range::see(double value) {
  least = least > 0 ? std::min(least, value) : value;
  most = std::max(most, value);
}

void Footprint::see_peak(Bytes above_base, const Load& load) {
  if (load.jobs == 0 || load.size <= 0) return;
  const auto bytes = static_cast<double>(above_base.count);
  per_size_.see(bytes / load.size);
  per_job_.see(bytes / load.jobs);
  // Of a mean over several the largest is hidden: it stands only for jobs of their mean size.
  if (bytes / load.jobs >= kAlike * per_job_.value())
    covered_ = std::max(covered_, load.size / load.jobs);
  if (load.jobs > 1 || above_base.count == 0) return;
  slopes_.see(bytes / load.size);
  sizes_.see(load.size);
}

void Footprint::see_job(double size) {
  largest_ = std::max(largest_, size);
  ++jobs_;
  if (++of_epoch_ < kEpoch) return;
  of_epoch_ = 0;
  per_size_.turn();
  per_job_.turn();
  slopes_ = sizes_ = {};
}

std::optional<Bytes> Footprint::need(double size) const {
  if (jobs_ < kEnough) return std::nullopt;
  double bytes = per_size_.value() * size;
  if (size <= covered_) bytes = std::min(bytes, per_job_.value());
  return to_bytes(kMargin * bytes);
}

std::optional<Bytes> Footprint::certain_need(double size) const {
  const bool certain = jobs_ >= kEnough && sizes_.most >= kSizesApart * sizes_.least &&
                       slopes_.least > 0 && slopes_.most <= kSlopesAlike * slopes_.least;
  if (!certain || size <= largest_) return std::nullopt;
  return to_bytes(slopes_.least * size);
}

}  // namespace gpuward
