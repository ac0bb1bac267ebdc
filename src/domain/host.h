#pragma once

#include <string>
#include <string_view>

#include "domain/service.h"

namespace gpuward {

/// What the warden watches on this machine, beside its services.
struct HostPolicy {
  std::string kernel_log = "/dev/kmsg";  ///< a device, a FIFO or a file of lines; empty: not read
  std::string metrics;  ///< where `@metrics` listens, as metrics_service() takes it; empty: nowhere
  friend bool operator==(const HostPolicy&, const HostPolicy&) = default;
};

/// The service of gpuward's own that serves its metrics.
inline constexpr std::string_view kMetricsService = "@metrics";

/// As `gpuward metrics --listen` takes it, and this machine alone can reach: "127.0.0.1:9477",
/// "[::1]:9477" or "unix:/PATH". Says nothing about the port.
bool is_for_this_machine(std::string_view listen);

/// @param gpuward  the path of the command
/// @param listen   is_for_this_machine()
ServiceModel metrics_service(const std::string& gpuward, const std::string& listen);

}  // namespace gpuward
