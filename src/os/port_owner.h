#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/pid.h"
#include "os/socket.h"

// Who exactly stands in the way of an address: another address of the same port is not.

namespace gpuward::os {

/// A listening TCP socket, as /proc/net/tcp and tcp6 list it.
struct ListeningAt {
  std::uint64_t inode = 0;
  bool v6 = false;
  std::array<std::uint8_t, 16> host{};  ///< network order; the first four of v4

  bool any_host() const { return host == std::array<std::uint8_t, 16>{}; }
};

/// The sockets in state LISTEN on @p port in the text of /proc/net/tcp, or of tcp6 with @p v6.
std::vector<ListeningAt> parse_listening(std::string_view text, bool v6, std::uint16_t port);

/// Which of @p all, all on its port, keep @p wanted from being bound: its own host or the wildcard.
/// The wildcard of v6 counts for a v4 address only where nothing of v4 is in the way: it may be
/// v6 alone, which cannot be seen there.
std::vector<std::uint64_t> in_the_way(const TcpAddress& wanted,
                                      const std::vector<ListeningAt>& all);

/// in_the_way() of what listens now.
std::vector<std::uint64_t> sockets_in_the_way(const TcpAddress& wanted);

/// Every process that has one of @p sockets open, as far as it may be looked into.
std::vector<Pid> holders_of(const std::vector<std::uint64_t>& sockets);

}  // namespace gpuward::os
