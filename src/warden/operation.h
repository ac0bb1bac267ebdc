#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/messages.h"
#include "warden/fleet.h"

namespace gpuward::warden {

/// One request of the CLI that takes time: it is begun once, then asked after every change whether
/// it is done. Facts only from the fleet; time is an argument.
class Operation {
 public:
  using What = WardenRequest::What;
  Operation(What what, std::vector<std::string> services, Instant deadline)
      : what_(what), services_(std::move(services)), deadline_(deadline) {}

  void begin(Fleet& fleet);
  /// Is every service where the request wants it, or can it not get there, or is it too late?
  bool done(const Fleet& fleet, Instant now);
  WardenAnswer answer(const Fleet& fleet) const;
  Instant deadline() const { return deadline_; }

 private:
  std::optional<ServiceOutcome> judge_start(const std::string& name,
                                            const Fleet::Member& member) const;
  std::optional<ServiceOutcome> judge_stop(const std::string& name,
                                           const Fleet::Member& member) const;

  What what_;
  std::vector<std::string> services_;
  Instant deadline_;
  std::map<std::string, ServiceOutcome> outcomes_;
  std::map<std::string, std::uint32_t> generation_before_;  // of those that had an anchor
  std::map<std::string, std::int64_t>
      receipt_before_;  // at_unix_ms: an older one is not this stop's
};

}  // namespace gpuward::warden
