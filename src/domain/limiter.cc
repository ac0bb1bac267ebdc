#include "domain/limiter.h"

#include <algorithm>
#include <utility>

namespace gpuward {
namespace {

/// Limits are compared when one is at most this share of the other.
constexpr double kApart = 0.7;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

std::string_view name(Limiter::Why why) {
  switch (why) {
    case Limiter::Why::start:
      return "start";
    case Limiter::Why::grew:
      return "grew";
    case Limiter::Why::shrank:
      return "shrank";
    case Limiter::Why::untested:
      return "untested";
    case Limiter::Why::held:
      return "held";
    case Limiter::Why::relearning:
      return "relearning";
    case Limiter::Why::failure:
      return "failure";
    case Limiter::Why::ceiling:
      return "ceiling";
  }
  return "unknown";
}

// Of what was in flight, as of the last change, up to now.
void Limiter::pass(Instant now) {
  if (now > last_) {
    job_seconds_ += in_flight_ * seconds(now - last_);
    last_ = now;
  }
  const bool full = in_flight_ >= kTested * limit_;
  if (!full) saturated_ = false;
}

void Limiter::begin_window(Instant now) {
  window_began_ = now;
  job_seconds_ = 0;
  completions_ = 0;
  stretches_.clear();
}

void Limiter::began(Instant now) {
  if (last_ == Instant{}) last_ = now;
  pass(now);
  if (in_flight_ == 0 && completions_ == 0) begin_window(now);
  ++in_flight_;
  if (!saturated_ && in_flight_ >= kTested * limit_) {
    saturated_ = true;
    saturated_since_ = now;
  }
}

void Limiter::left(Instant now) {
  pass(now);
  if (in_flight_ > 0) --in_flight_;
}

void Limiter::done(double stretch, bool may_grow, Instant now) {
  left(now);
  ++completions_;
  if (stretch > 0) stretches_.push_back(static_cast<float>(stretch));
  if (completions_ >= window()) end_window(may_grow, now);
}

std::uint32_t Limiter::window() const {
  constexpr std::uint32_t kLeast = 6;
  return std::max(kLeast, 2 * limit_);
}

double Limiter::at_once() const {
  const double most = limit_;
  return at_once_ > 0 ? std::min(at_once_, most) : most;
}

// Gain in completions per second per gain in limit: the middle one of those against each limit that
// was tried and is clearly smaller. Against the next one alone, from 14 to 15, a window would say
// more about chance than about the limit.
double Limiter::elasticity(double throughput) const {
  std::vector<double> gains;
  for (const auto& [limit, known] : throughput_) {
    if (limit > kApart * limit_) break;
    gains.push_back((throughput / known - 1) / (static_cast<double>(limit_) / limit - 1));
  }
  if (gains.empty()) return 1;
  const auto middle = gains.begin() + static_cast<std::ptrdiff_t>(gains.size() / 2);
  std::ranges::nth_element(gains, middle);
  return *middle;
}

void Limiter::set(std::uint32_t limit, Why why) {
  std::uint32_t most = settings_.most;
  if (ceiling_ > 0) most = std::min(most, ceiling_);
  if (limit > most) {
    limit = most;
    why = Why::ceiling;
  }
  limit_ = std::max<std::uint32_t>(limit, 1);
  why_ = why;
}

void Limiter::end_window(bool may_grow, Instant now) {
  const double lasted = seconds(now - window_began_);
  const double in_flight = lasted > 0 ? job_seconds_ / lasted : 0;
  const double throughput = lasted > 0 ? completions_ / lasted : 0;
  double rho = 1;
  if (!stretches_.empty()) {
    const auto middle = stretches_.begin() + static_cast<std::ptrdiff_t>(stretches_.size() / 2);
    std::ranges::nth_element(stretches_, middle);
    rho = std::max<double>(*middle, 1);
  }
  const bool enough = stretches_.size() * 2 >= completions_;
  begin_window(now);
  if (ceiling_ > 0 && now >= ceiling_until_) ceiling_ = 0;
  if (before_relearning_ > 0) {
    set(std::exchange(before_relearning_, 0), Why::held);
    saturated_since_ = now;
    return;
  }
  if (in_flight > 0) at_once_ = at_once_ > 0 ? (at_once_ + in_flight) / 2 : in_flight;
  if (in_flight < kTested * limit_) {
    why_ = Why::untested;
    return;
  }
  double& known = throughput_[limit_];
  known = known > 0 ? (known + throughput) / 2 : throughput;
  if (!enough) return;

  const double waits = in_flight * (1 - 1 / rho);
  const double few = std::max(0.5, 0.05 * limit_);
  const double many = std::max(1.5, 0.15 * limit_);
  const double gain = elasticity(known);
  const std::uint32_t step = std::max<std::uint32_t>(1, limit_ / 8);
  if (may_grow && (waits < few || (gain >= kWorthIt && rho <= settings_.stretch))) {
    set(limit_ + step, Why::grew);
  } else if (waits > many && limit_ > 1 && (gain < kWorthNothing || rho > settings_.stretch)) {
    set(limit_ - std::min(step, limit_ - 1), Why::shrank);
  } else if (saturated_ && limit_ > 1 && now - saturated_since_ >= kSaturatedFor) {
    before_relearning_ = limit_;
    set(limit_ - 1, Why::relearning);
  } else {
    why_ = Why::held;
  }
}

void Limiter::failed(Instant now) {
  const std::uint32_t with = in_flight_;
  ceiling_ = std::max<std::uint32_t>(1, with > 1 ? with - 1 : 1);
  ceiling_until_ = now + kCeilingFor;
  before_relearning_ = 0;
  set(limit_ / 2, Why::failure);
  begin_window(now);
}

void Limiter::restart(Instant now) {
  pass(now);
  in_flight_ = 0;
  before_relearning_ = 0;
  at_once_ = 0;
  saturated_ = false;
  throughput_.clear();
  set(1, Why::start);
  begin_window(now);
}

}  // namespace gpuward
