#include "os/socket.h"

#include <arpa/inet.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <cstring>

namespace gpuward::os {
namespace {

// sun_path is 108 bytes; a folder held by descriptor keeps every path short.
Result<sockaddr_un> unix_address(const Fd& dir, std::string_view name, socklen_t* length) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int n = std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.*s",
                              dir.get(), static_cast<int>(name.size()), name.data());
  if (n < 0 || n >= static_cast<int>(sizeof address.sun_path))
    return fail(error_from(ENAMETOOLONG, "name socket", name));
  *length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + static_cast<std::size_t>(n) + 1);
  return address;
}

const sockaddr* plain(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}
const sockaddr* plain(const TcpAddress& address) {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}

}  // namespace

std::uint16_t TcpAddress::port() const {
  if (storage.ss_family == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::optional<TcpAddress> parse_tcp_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  unsigned port = 0;
  auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (code != std::errc{} || end != digits.data() + digits.size() || port == 0 || port > 65535)
    return std::nullopt;
  const bool v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (v6) host = host.substr(1, host.size() - 2);
  char name[64] = {};
  if (host.empty() || host.size() >= sizeof name || host.contains('\0')) return std::nullopt;
  host.copy(name, host.size());
  TcpAddress address;
  if (v6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<std::uint16_t>(port));
    address.length = sizeof *in6;
    if (::inet_pton(AF_INET6, name, &in6->sin6_addr) != 1) return std::nullopt;
  } else {
    auto* in4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    in4->sin_family = AF_INET;
    in4->sin_port = htons(static_cast<std::uint16_t>(port));
    address.length = sizeof *in4;
    if (::inet_pton(AF_INET, name, &in4->sin_addr) != 1) return std::nullopt;
  }
  return address;
}

Result<Fd> listen_unix_at(const Fd& dir, std::string_view name, int backlog) {
  socklen_t length = 0;
  auto address = unix_address(dir, name, &length);
  if (!address) return fail(std::move(address).error());
  Fd socket = Fd::take(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(last_error("make a socket"));
  ::unlink(address->sun_path);
  const mode_t old_mask = ::umask(0177);
  const int bound = ::bind(socket.get(), plain(*address), length);
  const int saved = errno;
  ::umask(old_mask);
  if (bound < 0) return fail(error_from(saved, "bind socket", name));
  if (::listen(socket.get(), backlog) < 0) return fail(last_error("listen on socket", name));
  return socket;
}

Result<Fd> listen_tcp(const TcpAddress& address, int backlog) {
  Fd socket =
      Fd::take(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(last_error("make a socket"));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.storage.ss_family == AF_INET6)
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(socket.get(), plain(address), address.length) < 0) {
    Error error = last_error("listen at port ");
    error.doing.append_number(address.port());
    return fail(error);
  }
  if (::listen(socket.get(), backlog) < 0) return fail(last_error("listen"));
  return socket;
}

Result<Fd> connect_unix_at(const Fd& dir, std::string_view name) {
  socklen_t length = 0;
  auto address = unix_address(dir, name, &length);
  if (!address) return fail(std::move(address).error());
  Fd socket = Fd::take(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(last_error("make a socket"));
  if (::connect(socket.get(), plain(*address), length) < 0)
    return fail(last_error("connect to", name));
  return socket;
}

Result<void> notify(std::string_view name, std::string_view text) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() >= sizeof address.sun_path)
    return fail(error_from(ENAMETOOLONG, "notify", name));
  name.copy(address.sun_path, name.size());
  if (name.front() == '@') address.sun_path[0] = '\0';
  const Fd socket = Fd::take(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(last_error("make a socket"));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT, plain(address),
               length) < 0)
    return fail(last_error("notify", name));
  return {};
}

Result<Peer> peer_of(const Fd& unix_socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(unix_socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
    return fail(last_error("ask who is connected"));
  return Peer{Pid{credentials.pid}, credentials.uid};
}

Result<Fd> start_connect(const TcpAddress& address) {
  Fd socket =
      Fd::take(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(last_error("make a socket"));
  if (::connect(socket.get(), plain(address), address.length) < 0 && errno != EINPROGRESS)
    return fail(last_error("connect"));
  return socket;
}

Result<Fd> start_connect_unix(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string_view name(path);
  if (name.size() >= sizeof address.sun_path)
    return fail(error_from(ENAMETOOLONG, "connect to", name));
  name.copy(address.sun_path, name.size());
  Fd socket = Fd::take(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(last_error("make a socket"));
  if (::connect(socket.get(), plain(address), sizeof address) < 0 && errno != EINPROGRESS)
    return fail(last_error("connect to", name));
  return socket;
}

int connect_result(const Fd& socket) {
  int code = 0;
  socklen_t length = sizeof code;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &code, &length) < 0) return errno;
  return code;
}

namespace {

constexpr std::uint16_t kFirstOfOurs = 20'000;
constexpr int kPortTries = 64;

// The first port that the kernel itself picks from, for outgoing connections too (ip(7)).
std::uint16_t first_ephemeral_port() {
  std::array<char, 32> text{};
  const auto range = read_small("/proc/sys/net/ipv4/ip_local_port_range", text);
  std::uint16_t low = 0;
  if (range) (void)std::from_chars(range->data(), range->data() + range->size(), low);
  return low;
}

}  // namespace

Result<std::uint16_t> free_loopback_port() {
  Fd socket = Fd::take(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(last_error("make a socket"));
  auto address = parse_tcp_address("127.0.0.1:1");
  auto* in4 = reinterpret_cast<sockaddr_in*>(&address->storage);
  const std::uint16_t low = first_ephemeral_port();
  for (int n = 0; low > kFirstOfOurs + 1000 && n < kPortTries; ++n) {
    std::uint16_t random = 0;
    if (::getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) break;
    const auto port = static_cast<std::uint16_t>(kFirstOfOurs + random % (low - kFirstOfOurs));
    in4->sin_port = htons(port);
    if (::bind(socket.get(), plain(*address), address->length) == 0) return port;
  }
  in4->sin_port = 0;
  if (::bind(socket.get(), plain(*address), address->length) < 0)
    return fail(last_error("bind a free port"));
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address->storage),
                    &address->length) < 0)
    return fail(last_error("ask for the port"));
  return address->port();
}

Result<bool> port_taken(const TcpAddress& address) {
  Fd socket = Fd::take(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(last_error("make a socket"));
  // With SO_REUSEADDR a port in TIME_WAIT is free, as it is for nearly every server.
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), plain(address), address.length) == 0) {
    if (::listen(socket.get(), 1) == 0) return false;
    if (errno == EADDRINUSE) return true;
    return fail(last_error("listen on a port"));
  }
  if (errno == EADDRINUSE) return true;
  return fail(last_error("bind a port"));
}

}  // namespace gpuward::os
