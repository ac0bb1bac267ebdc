#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace gpuward::os {

/// An established TCP connection of our network namespace, as one of its ends. Two that follow each
/// other between the same ports differ by their inode.
struct Connection {
  std::uint16_t port = 0;  ///< of our end
  std::uint16_t peer_port = 0;
  std::uint64_t inode = 0;
  std::array<char, 32> peer{};  ///< its address as the kernel prints it, 8 or 32 digits
  friend auto operator<=>(const Connection&, const Connection&) = default;
};

/// The connections in state ESTABLISHED with our end at @p port in the text of /proc/net/tcp or
/// tcp6 (proc_pid_net(5)). At most @p most: then `full` is set.
struct Connections {
  std::vector<Connection> list;
  bool full = false;
};
void parse_connections(std::string_view text, std::uint16_t port, std::size_t most,
                       Connections& into);

/// Those that clients of @p port have now. Errors: as open(2) of /proc/self/net/tcp.
Result<Connections> connections_at(std::uint16_t port, std::size_t most);

}  // namespace gpuward::os
