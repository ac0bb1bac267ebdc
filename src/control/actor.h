#pragma once

#include "domain/event.h"
#include "os/socket.h"

namespace gpuward::control {

/// Who is at the other end: asked while it waits for its answer, for a number says little later.
/// Allocates nothing.
Actor actor_of(const os::Peer& peer);

}  // namespace gpuward::control
