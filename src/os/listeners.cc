#include "os/listeners.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace gpuward::os {
namespace {

using detail::InodeCallback;
using detail::ListenerCallback;
using detail::WaitCallback;

// net/tcp_states.h
constexpr unsigned kStateEstablished = 1;
constexpr unsigned kStateListen = 10;

/// A socket as the kernel lists it.
struct TcpSocket {
  unsigned state = 0;
  std::uint32_t received = 0;  ///< LISTEN: connections not accepted yet; else bytes not read yet
  Listener place;
};
using SocketCallback = void (*)(void* context, const TcpSocket& socket);

Result<void> ask_kernel(const Fd& netlink, std::uint8_t family, std::uint32_t states,
                        SocketCallback callback, void* context) {
  struct Request {
    nlmsghdr header;
    inet_diag_req_v2 body;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = family;
  request.body.sdiag_protocol = IPPROTO_TCP;
  request.body.idiag_states = states;
  if (::send(netlink.get(), &request, sizeof request, 0) < 0)
    return fail(last_error("ask sock_diag"));
  alignas(nlmsghdr) std::array<char, 16384> buffer;
  for (;;) {
    const ssize_t n = ::recv(netlink.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail(last_error("read sock_diag"));
    auto left = static_cast<std::size_t>(n);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data());
         left >= sizeof *header && header->nlmsg_len >= sizeof *header &&
         header->nlmsg_len <= left;) {
      if (header->nlmsg_type == NLMSG_DONE) return {};
      if (header->nlmsg_type == NLMSG_ERROR)
        return fail(Errc::not_supported, "list sockets by sock_diag");
      inet_diag_msg message{};
      if (header->nlmsg_len >= NLMSG_HDRLEN + sizeof message) {
        std::memcpy(&message, reinterpret_cast<char*>(header) + NLMSG_HDRLEN, sizeof message);
        callback(context, {message.idiag_state,
                           message.idiag_rqueue,
                           {message.idiag_inode, ntohs(message.id.idiag_sport)}});
      }
      const std::size_t step = NLMSG_ALIGN(header->nlmsg_len);
      if (step >= left) break;
      left -= step;
      header = reinterpret_cast<nlmsghdr*>(reinterpret_cast<char*>(header) + step);
    }
  }
}

// One line: "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 ... inode ..."
// (proc_pid_net(5)): local address, remote address, state, bytes to be sent and received.
void parse_net_line(std::string_view line, SocketCallback callback, void* context) {
  std::array<std::string_view, 10> words;
  std::size_t count = 0;
  while (count < words.size()) {
    const auto start = line.find_first_not_of(' ');
    if (start == std::string_view::npos) break;
    line.remove_prefix(start);
    words[count] = line.substr(0, line.find(' '));
    line.remove_prefix(words[count].size());
    ++count;
  }
  const auto colon = words[1].rfind(':');
  const auto queue = words[4].rfind(':');
  if (count < words.size() || colon == std::string_view::npos || queue == std::string_view::npos)
    return;
  TcpSocket socket;
  const auto read = [](std::string_view text, auto& value, int base) {
    std::from_chars(text.data(), text.data() + text.size(), value, base);
  };
  read(words[1].substr(colon + 1), socket.place.port, 16);
  read(words[3], socket.state, 16);
  read(words[4].substr(queue + 1), socket.received, 16);
  read(words[9], socket.place.inode, 10);
  callback(context, socket);
}

Result<void> read_net_file(const char* path, SocketCallback callback, void* context) {
  auto file = Fd::open(path, O_RDONLY);
  if (!file) return fail(std::move(file).error());
  std::array<char, 8192> buffer;
  std::size_t held = 0;
  for (;;) {
    const ssize_t n = ::read(file->get(), buffer.data() + held, buffer.size() - held);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(last_error("read", path));
    if (n == 0) return {};
    std::string_view text(buffer.data(), held + static_cast<std::size_t>(n));
    for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
      parse_net_line(text.substr(0, end), callback, context);
      text.remove_prefix(end + 1);
    }
    held = text.size() < buffer.size() ? text.size() : 0;
    std::memmove(buffer.data(), text.data(), held);
  }
}

// Where sock_diag is missing the text files tell of sockets in every state.
Result<void> each_tcp_socket(std::uint32_t states, SocketCallback callback, void* context) {
  Fd netlink = Fd::take(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (netlink) {
    auto v4 = ask_kernel(netlink, AF_INET, states, callback, context);
    if (v4) {
      auto v6 = ask_kernel(netlink, AF_INET6, states, callback, context);
      if (v6 || v6.error().code == make_error_code(Errc::not_supported)) return {};
      return v6;
    }
  }
  auto v4 = read_net_file("/proc/self/net/tcp", callback, context);
  (void)read_net_file("/proc/self/net/tcp6", callback, context);  // absent where IPv6 is off
  return v4;
}

template <class Callback>
struct Forward {
  Callback callback;
  void* context;
};

}  // namespace

namespace detail {

Result<void> each_listener(ListenerCallback callback, void* context) {
  Forward<ListenerCallback> forward{callback, context};
  return each_tcp_socket(
      1U << kStateListen,
      [](void* to, const TcpSocket& socket) {
        const auto& target = *static_cast<Forward<ListenerCallback>*>(to);
        if (socket.state == kStateListen) target.callback(target.context, socket.place);
      },
      &forward);
}

Result<void> each_waiting(WaitCallback callback, void* context) {
  Forward<WaitCallback> forward{callback, context};
  return each_tcp_socket(
      (1U << kStateListen) | (1U << kStateEstablished),
      [](void* to, const TcpSocket& socket) {
        const auto& target = *static_cast<Forward<WaitCallback>*>(to);
        const bool listens = socket.state == kStateListen;
        if (socket.received == 0 || (!listens && socket.state != kStateEstablished)) return;
        target.callback(target.context, socket.place.port, listens ? socket.received : 1);
      },
      &forward);
}

Result<void> each_socket(Pid pid, InodeCallback callback, void* context) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/%d/fd", pid.number);
  auto dir = Fd::open(path.data(), O_RDONLY | O_DIRECTORY);
  if (!dir) return fail(std::move(dir).error());
  return for_each_entry(*dir, [&](std::string_view name, bool) {
    std::array<char, 16> leaf{};
    name.copy(leaf.data(), leaf.size() - 1);
    std::array<char, 64> target{};
    const ssize_t n = ::readlinkat(dir->get(), leaf.data(), target.data(), target.size());
    const std::string_view link(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
    constexpr std::string_view kSocket = "socket:[";
    if (!link.starts_with(kSocket)) return true;
    std::uint64_t inode = 0;
    std::from_chars(link.data() + kSocket.size(), link.data() + link.size(), inode);
    if (inode != 0) callback(context, inode);
    return true;
  });
}

}  // namespace detail

std::optional<Pid> find_port_holder(std::uint16_t port) {
  std::array<std::uint64_t, 16> inodes{};
  std::size_t count = 0;
  (void)for_each_listener([&](const Listener& listener) {
    if (listener.port == port && listener.inode != 0 && count < inodes.size())
      inodes[count++] = listener.inode;
  });
  std::optional<Pid> holder;
  if (count == 0) return holder;
  (void)for_each_process([&](Pid pid) {
    if (holder && *holder < pid) return;
    (void)for_each_socket(pid, [&](std::uint64_t inode) {
      for (std::size_t at = 0; at < count; ++at)
        if (inodes[at] == inode) holder = pid;
    });
  });
  return holder;
}

}  // namespace gpuward::os
