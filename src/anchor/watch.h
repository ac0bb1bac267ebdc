#pragma once

#include <optional>

#include "anchor/probe.h"
#include "base/units.h"
#include "domain/lifecycle.h"
#include "domain/service.h"

namespace gpuward::anchor {

/// Whether a service that is ready shows life: a GET every so often, or its own WATCHDOG=1. Like
/// Probe: non-blocking, polled by its owner, allocation-free once set().
class Watch {
 public:
  /// @p live is copied. Call once, where the watch stays from then on.
  void set(const Liveness& live);
  /// Another pace, from the next question on.
  void set_pace(std::chrono::milliseconds every, std::uint32_t failures, Instant now);
  void start(Instant now);
  /// Of a service that was taken over: its WATCHDOG=1 counts from the first that is heard. One that
  /// keeps a connection to the dead anchor's socket is not heard any more.
  void resume(Instant now);
  void stop();

  int fd() const { return probe_.fd(); }
  short events() const { return probe_.events(); }
  Instant next() const;

  /// Why it counts as dead now; none while it lives. Call on an event and at next().
  std::optional<Reason> advance(Instant now);
  /// It has said WATCHDOG=1.
  void heard(Instant now);

 private:
  std::optional<Reason> ask(Instant now);

  Liveness live_;
  Readiness question_;
  Probe probe_;
  bool active_ = false;
  Instant due_{};  // the next question, or the end of the time in which it has to speak
  std::uint32_t failures_ = 0;
};

}  // namespace gpuward::anchor
