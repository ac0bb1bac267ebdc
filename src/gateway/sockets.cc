#include "gateway/sockets.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>

#include "base/fnv.h"

namespace gpuward::gateway {
namespace {

void set(const os::Fd& socket, int level, int option, int value) {
  ::setsockopt(socket.get(), level, option, &value, sizeof value);
}

std::string_view bytes_of(const void* at, std::size_t count) {
  return {static_cast<const char*>(at), count};
}

void name_peer(const sockaddr_storage& peer, Accepted& accepted) {
  char text[INET6_ADDRSTRLEN] = "";
  std::string_view bytes;
  if (peer.ss_family == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(peer).sin_addr;
    ::inet_ntop(AF_INET, &address, text, sizeof text);
    bytes = bytes_of(&address, sizeof address);
  } else if (peer.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
      ::inet_ntop(AF_INET, &address.s6_addr[12], text, sizeof text);
      bytes = bytes_of(&address.s6_addr[12], 4);
    } else {
      ::inet_ntop(AF_INET6, &address, text, sizeof text);
      bytes = bytes_of(&address, sizeof address);
    }
  }
  accepted.address = Text<48>(text);
  accepted.caller = std::max<std::uint64_t>(fnv1a(bytes), 1);
}

}  // namespace

Result<std::optional<Accepted>> try_accept(const os::Fd& listener) {
  while (true) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    auto socket = os::Fd::take(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer),
                                         &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket) {
      Accepted accepted{.socket = std::move(socket), .address = {}, .caller = 0};
      name_peer(peer, accepted);
      return accepted;
    }
    if (errno == EAGAIN) return std::nullopt;
    // accept(2): network errors of the new connection are told here too.
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO || errno == ENETDOWN ||
        errno == EHOSTUNREACH || errno == ENETUNREACH)
      continue;
    return fail(last_error("accept a client"));
  }
}

void tune_client(const os::Fd& socket, std::chrono::milliseconds lost_after) {
  using std::chrono::seconds;
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  const auto after = std::max(std::chrono::duration_cast<seconds>(lost_after), seconds(3));
  // Idle for half of it, then three probes in the rest; TCP_USER_TIMEOUT overrides their count.
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE,
      static_cast<int>(std::max<std::int64_t>(after.count() / 2, 1)));
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL,
      static_cast<int>(std::max<std::int64_t>(after.count() / 6, 1)));
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(lost_after.count()));
}

void tune_upstream(const os::Fd& socket) {
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
}

void cut_off(os::Fd socket) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  socket.close();
}

}  // namespace gpuward::gateway
