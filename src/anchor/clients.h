#pragma once

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <span>
#include <utility>

#include "base/units.h"
#include "control/channel.h"
#include "control/messages.h"
#include "os/fd.h"

namespace gpuward::anchor {

/// Who is connected to an anchor's control socket: at most kMost at a time, each with a small fixed
/// buffer. All are told of every change; one that does not read is let go, so nobody can hold the
/// anchor up. One in a process: the buffers are static, and untouched until somebody speaks.
class Clients {
 public:
  static constexpr std::size_t kMost = 12;

  Clients();
  /// Takes a connected socket of the launcher as the first subscriber.
  void add(os::Fd socket, bool subscribed);
  /// Accepts whoever waits on @p listener, if it is root or our own user; else closes it. One more
  /// than kMost takes the place of the one that has never said anything longest.
  /// @return false when descriptors or memory are short: more may wait, try again later.
  bool accept_from(const os::Fd& listener);

  /// The descriptors to poll, -1 for free places.
  int fd(std::size_t at) const { return clients_[at].socket.get(); }
  const os::Fd& socket(std::size_t at) const { return clients_[at].socket; }
  /// Reads what client @p at has sent. @p handle(AnchorRequest) is called for each whole request.
  template <class Handle>
  void read(std::size_t at, Handle&& handle);

  /// Sends @p state to every subscriber.
  void tell(const AnchorState& state);
  /// Does a subscriber see the GPU and answer for its memory?
  bool someone_sees_gpu() const;

 private:
  struct Client {
    os::Fd socket;
    bool subscribed = false;
    bool sees_gpu = false;
    bool spoke = false;
    std::uint64_t since = 0;  // which connection it is, by count
    control::FrameBuffer frames;
  };
  void note(Client& client, const AnchorRequest& request) const;
  void send(Client& client, std::span<const std::byte> frame) const;

  template <std::size_t... I>
  explicit Clients(std::index_sequence<I...> /*places*/) : clients_{in_place(I)...} {}
  static Client in_place(std::size_t at);

  std::array<Client, kMost> clients_;
  std::uint64_t count_ = 0;
};

template <class Handle>
void Clients::read(std::size_t at, Handle&& handle) {
  Client& client = clients_[at];
  auto room = client.frames.room();
  const ssize_t n = ::recv(client.socket.get(), room.data(), room.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return client.socket.close();
  client.frames.add(static_cast<std::size_t>(n));
  for (;;) {
    auto body = client.frames.next();
    if (!body) return client.socket.close();  // not our language: let it go
    if (!*body) return;
    auto request = wire::decode<AnchorRequest>(**body);
    if (!request) return client.socket.close();
    note(client, *request);
    handle(*request, at);
    if (!client.socket) return;
  }
}

}  // namespace gpuward::anchor
