#pragma once

#include "base/error.h"
#include "xray/service.h"

namespace gpuward::xray {

/// Listens and serves until SIGINT or SIGTERM, on one thread; films run on the service's own.
/// Prints "listening on http://ADDRESS:PORT" on stdout when connections are taken.
/// Errors: an address that is no number, a port that is taken.
Result<void> serve(const Options& options, Service& service);

}  // namespace gpuward::xray
