#include "anchor/clients.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "anchor/scratch.h"
#include "os/socket.h"

namespace gpuward::anchor {
namespace {
constexpr std::size_t kMostAsked = 512;  // bytes of a request
using Room = std::array<std::byte, kMostAsked + wire::kFrameHeader>;
std::array<Room, Clients::kMost> rooms;
}  // namespace

Clients::Clients() : Clients(std::make_index_sequence<kMost>()) {}

Clients::Client Clients::in_place(std::size_t at) {
  return {.socket = {}, .frames = control::FrameBuffer(rooms[at])};
}

void Clients::add(os::Fd socket, bool subscribed) {
  (void)socket.set_nonblocking(true);
  Client* place = nullptr;
  for (auto& client : clients_)
    if (!client.socket && place == nullptr) place = &client;
  // All taken: whoever has been silent longest makes room, so that nobody can lock others out.
  for (auto& client : clients_)
    if (client.socket && !client.spoke &&
        (place == nullptr || (place->socket && client.since < place->since)))
      place = &client;
  if (place == nullptr) return;
  place->socket = std::move(socket);
  place->subscribed = place->spoke = subscribed;
  place->sees_gpu = false;
  place->since = ++count_;
  place->frames.clear();
}

bool Clients::accept_from(const os::Fd& listener) {
  for (;;) {
    os::Fd socket =
        os::Fd::take(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) return errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS;
    auto peer = os::peer_of(socket);
    if (!peer || (peer->uid != 0 && peer->uid != ::geteuid())) continue;
    add(std::move(socket), false);
  }
}

void Clients::note(Client& client, const AnchorRequest& request) const {
  client.spoke = true;
  if (request.what != AnchorRequest::What::subscribe) return;
  client.subscribed = true;
  client.sees_gpu = request.sees_gpu;
}

void Clients::send(Client& client, std::span<const std::byte> frame) const {
  const ssize_t n =
      ::send(client.socket.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n != static_cast<ssize_t>(frame.size())) client.socket.close();
}

void Clients::tell(const AnchorState& state) {
  // Encoded without copying the state into a message of its own: it is large.
  wire::Writer writer(scratch.news);
  writer.begin_frame(StateNews::kKind);
  writer(1, state);
  const auto frame = writer.end_frame();
  for (auto& client : clients_)
    if (client.socket && client.subscribed) send(client, frame);
}

bool Clients::someone_sees_gpu() const {
  for (const auto& client : clients_)
    if (client.socket && client.subscribed && client.sees_gpu) return true;
  return false;
}

}  // namespace gpuward::anchor
