#include "anchor/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>

namespace gpuward::anchor {
namespace {

constexpr std::size_t kMostDescriptors = 253;  // SCM_MAX_FD of the kernel

void read_lines(std::string_view text, NotifySocket::Word& word) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    word.ready |= line == "READY=1";
    word.stopping |= line == "STOPPING=1";
    word.watchdog |= line == "WATCHDOG=1";
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
}

}  // namespace

Result<NotifySocket> NotifySocket::open(const Text<64>& name) {
  if (name.size() < 2) return fail(Errc::invalid, "bind a notification socket without a name");
  NotifySocket made;
  made.socket_ = os::Fd::take(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.socket_) return fail(last_error("make a socket"));
  const int on = 1;
  if (::setsockopt(made.socket_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
    return fail(last_error("ask who sends notifications"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto rest = name.view().substr(1);  // the "@" stands for a NUL byte
  rest.copy(address.sun_path + 1, rest.size());
  const auto length = offsetof(sockaddr_un, sun_path) + 1 + rest.size();
  if (::bind(made.socket_.get(), reinterpret_cast<const sockaddr*>(&address),
             static_cast<socklen_t>(length)) < 0)
    return fail(last_error("bind the notification socket", name));
  return made;
}

std::optional<NotifySocket::Word> NotifySocket::read() const {
  std::array<char, 4096> text;
  alignas(cmsghdr)
      std::array<char, CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(kMostDescriptors * sizeof(int))>
          control;
  iovec data{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0) return std::nullopt;
  Word word;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET) continue;
    if (part->cmsg_type == SCM_CREDENTIALS) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(part), sizeof sender);
      word.sender = Pid{sender.pid};
      word.uid = sender.uid;
    } else if (part->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t at = 0; at < count; ++at) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(part) + at * sizeof number, sizeof number);
        os::Fd::take(number).close();
      }
    }
  }
  read_lines(std::string_view(text.data(), static_cast<std::size_t>(n)), word);
  return word;
}

}  // namespace gpuward::anchor
