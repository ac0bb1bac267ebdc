#include "domain/emergency_share.h"

#include <algorithm>
#include <cmath>

namespace gpuward {
namespace {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void EmergencyShare::pass_time(Instant now, double at_once) {
  const double most = share_ * at_once * seconds(kBurst);
  if (last_ == Instant{}) {
    credit_ = most;
    last_ = now;
    return;
  }
  if (now <= last_) return;
  const double passed = seconds(now - last_);
  last_ = now;
  credit_ = std::min(credit_ + share_ * at_once * passed, most);
  load_ *= std::exp(-passed / seconds(kMemory));
}

void EmergencyShare::arrived(Duration takes) {
  load_ += seconds(takes) / seconds(kMemory);
}

void EmergencyShare::worked(Duration took) {
  credit_ -= seconds(took);
}

}  // namespace gpuward
