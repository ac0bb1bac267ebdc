#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "os/fd.h"
#include "os/socket.h"

namespace gpuward::gateway {

/// A client that has connected.
struct Accepted {
  os::Fd socket;         ///< non-blocking
  Text<48> address;      ///< "10.0.0.7", without its port; empty for a Unix socket
  std::uint64_t caller;  ///< the same for all of one address; never 0
};

/// The next client that waits at @p listener, if there is one. Clients that have left again are
/// passed over. Errors: as accept4(2); EMFILE means that the others have to wait.
Result<std::optional<Accepted>> try_accept(const os::Fd& listener);

/// Answers go out as they come, and a peer whose network is cut is found within about
/// @p lost_after: keep-alive probes while nothing is sent, TCP_USER_TIMEOUT (tcp(7)) while
/// something is. What the kernel refuses of it is left as it is: a Unix socket has none.
void tune_client(const os::Fd& socket, std::chrono::milliseconds lost_after);
/// The same for a connection to a replica of this machine: only that nothing is held back.
void tune_upstream(const os::Fd& socket);

/// The peer gets an error instead of an end, so that what it has is not taken for a whole answer.
void cut_off(os::Fd socket);

}  // namespace gpuward::gateway
