#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <set>
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

struct Connections {
  std::vector<Connection> list;
  bool full = false;  ///< there are more
};
/// The connections in state ESTABLISHED in the text of /proc/net/tcp or tcp6 (proc_pid_net(5)) with
/// our end at a port that is a key of @p into. At most @p most of each.
void parse_connections(std::string_view text, std::size_t most,
                       std::map<std::uint16_t, Connections>& into);

/// Those that clients of each of @p ports have now, sorted. Walks every connection of the machine
/// once, whatever the number of ports. Errors: as open(2) of /proc/self/net/tcp.
Result<std::map<std::uint16_t, Connections>> connections_at(const std::set<std::uint16_t>& ports,
                                                            std::size_t most);

}  // namespace gpuward::os
