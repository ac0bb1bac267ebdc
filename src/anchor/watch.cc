#include "anchor/watch.h"

namespace gpuward::anchor {

void Watch::set(const Liveness& live) {
  live_ = live;
  if (live.kind != LiveKind::http) return;
  question_.kind = ReadyKind::http;
  question_.address = live.address;
  question_.path = live.path;
  probe_ = Probe(question_);
}

void Watch::set_pace(std::chrono::milliseconds every, std::uint32_t failures, Instant now) {
  live_.every = every;
  live_.failures = failures;
  if (active_ && !probe_.active() && due_ != Instant::max()) due_ = now + every;
}

void Watch::start(Instant now) {
  active_ = live_.kind != LiveKind::off;
  failures_ = 0;
  due_ = now + live_.every;
}

void Watch::resume(Instant now) {
  start(now);
  if (live_.kind == LiveKind::notify) due_ = Instant::max();
}

void Watch::stop() {
  active_ = false;
  probe_.stop();
}

Instant Watch::next() const {
  if (!active_) return Instant::max();
  return probe_.active() ? probe_.next() : due_;
}

void Watch::heard(Instant now) {
  if (active_ && live_.kind == LiveKind::notify) due_ = now + live_.every;
}

std::optional<Reason> Watch::advance(Instant now) {
  if (!active_) return std::nullopt;
  if (live_.kind == LiveKind::http) return ask(now);
  if (now < due_) return std::nullopt;
  Reason reason("no WATCHDOG=1 for ");
  reason.append_number(live_.every.count()).append(" ms");
  return reason;
}

// One attempt at a time: what the probe would ask again is a failure here.
std::optional<Reason> Watch::ask(Instant now) {
  if (!probe_.active()) {
    if (now < due_) return std::nullopt;
    probe_.start(now);
  }
  const bool answered = probe_.advance(now);
  if (!answered && probe_.refused() == 0) return std::nullopt;
  const Text<40> failure = probe_.failure();
  probe_.stop();
  due_ = now + live_.every;
  failures_ = answered ? 0 : failures_ + 1;
  if (failures_ < live_.failures) return std::nullopt;
  Reason reason("GET ");
  reason.append(std::string_view(live_.path).substr(0, 60)).append(" failed ");
  reason.append_number(failures_).append(failures_ == 1 ? " time: it "
                                                        : " times in a row; it last ");
  reason.append(failure);
  return reason;
}

}  // namespace gpuward::anchor
