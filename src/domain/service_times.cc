#include "domain/service_times.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <span>

namespace gpuward {
namespace {

Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// Nearest rank; @p of gets another order.
double percentile(std::span<float> of, double share) {
  const auto at = static_cast<std::size_t>(std::lround(share * static_cast<double>(of.size() - 1)));
  std::nth_element(of.begin(), of.begin() + static_cast<std::ptrdiff_t>(at), of.end());
  return of[at];
}

}  // namespace

ServiceTimes::Key ServiceTimes::key_of(std::uint32_t route, Bytes size) {
  return {route, static_cast<std::uint32_t>(std::bit_width(size.count))};
}

ServiceTimes::Estimate ServiceTimes::estimate(const Class& of) {
  const std::size_t kept = std::min<std::uint64_t>(of.seen, kMemory);
  const std::size_t recent = std::min(kept, kRecent);
  std::array<float, kMemory> all = of.seconds;
  std::array<float, kRecent> last{};
  for (std::size_t i = 0; i < recent; ++i) last[i] = of.seconds[(of.seen - 1 - i) % kMemory];
  const std::span lately(last.data(), recent);
  const double mean =
      std::accumulate(lately.begin(), lately.end(), 0.0) / static_cast<double>(recent);
  const double floor = percentile({all.data(), kept}, 0.1);
  return {.floor = from_seconds(floor),
          .usual = from_seconds(mean),
          .safe = from_seconds(percentile(lately, 0.9))};
}

void ServiceTimes::add(std::uint32_t route, Bytes size, Duration took) {
  const double seconds = std::max(std::chrono::duration<double>(took).count(), 0.0);
  const double weight =
      all_seen_ < kRecent ? 1.0 / static_cast<double>(all_seen_ + 1) : 1.0 / kRecent;
  all_mean_ += (seconds - all_mean_) * weight;
  ++all_seen_;
  const Key key = key_of(route, size);
  if (classes_.size() >= kMostClasses && !classes_.contains(key)) return;
  Class& of = classes_[key];
  of.seconds[of.seen % kMemory] = static_cast<float>(seconds);
  ++of.seen;
  if (took >= kShort || of.seen <= kRecent || of.seen % kAnewEvery == 0) of.estimate = estimate(of);
}

std::optional<ServiceTimes::Estimate> ServiceTimes::find(std::uint32_t route, Bytes size) const {
  const auto at = classes_.find(key_of(route, size));
  if (at == classes_.end() || at->second.seen < kEnough) return std::nullopt;
  return at->second.estimate;
}

std::optional<Duration> ServiceTimes::usual() const {
  if (all_seen_ == 0) return std::nullopt;
  return from_seconds(all_mean_);
}

}  // namespace gpuward
