#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/pid.h"
#include "os/fd.h"

namespace gpuward::os {

/// A numeric TCP address. Names are never resolved: static programs have no resolver.
struct TcpAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  std::uint16_t port() const;
};
/// "127.0.0.1:7860", "0.0.0.0:80", "[::1]:7860". nullopt for anything else.
std::optional<TcpAddress> parse_tcp_address(std::string_view text);

/// A listening Unix stream socket named @p name inside @p dir, mode 0600; an old socket file is
/// replaced. Works for paths of any length (through /proc/self/fd: sun_path holds 107 bytes).
Result<Fd> listen_unix_at(const Fd& dir, std::string_view name, int backlog = 16);
/// Connects to it. ECONNREFUSED or ENOENT: nobody listens.
Result<Fd> connect_unix_at(const Fd& dir, std::string_view name);

/// A non-blocking TCP socket that listens at @p address, also right after another one did
/// (SO_REUSEADDR); [::] is IPv6 alone. Errors: as bind(2) and listen(2), with the port.
Result<Fd> listen_tcp(const TcpAddress& address, int backlog = 4096);

struct Peer {
  Pid pid;  ///< 0 if it lives in another PID namespace
  uid_t uid = 0;
};
Result<Peer> peer_of(const Fd& unix_socket);

/// Starts a non-blocking TCP connection; poll the result for POLLOUT, then ask connect_result.
Result<Fd> start_connect(const TcpAddress& address);
/// Starts a non-blocking connection to the Unix socket @p path; allocates nothing. Errors: EAGAIN
/// when its owner accepts nobody, ENAMETOOLONG beyond 107 bytes.
Result<Fd> start_connect_unix(const char* path);
/// 0 when connected, else the errno.
int connect_result(const Fd& socket);

/// Sends @p text to the notification socket @p name of sd_notify(3): a path, or "@" and an abstract
/// name. Never waits. Errors: as socket(2) and sendto(2).
Result<void> notify(std::string_view name, std::string_view text);

/// A TCP port of 127.0.0.1 that is free now: from 20000 up and below the range from which the
/// kernel gives ports to outgoing connections (which could take it while the service restarts),
/// else one that the kernel chooses. Another program may take it before the service does: the
/// service's own bind error tells.
Result<std::uint16_t> free_loopback_port();

/// Is something listening at @p address (also on the wildcard address of the port)? By trying to
/// bind it ourselves without SO_REUSEPORT. Errors: EACCES for ports below 1024 without the right.
Result<bool> port_taken(const TcpAddress& address);

}  // namespace gpuward::os
