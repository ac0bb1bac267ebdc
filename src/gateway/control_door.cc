#include "gateway/control_door.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "gateway/gateway.h"
#include "gateway/sockets.h"
#include "os/socket.h"

namespace gpuward::gateway {

/// One who talks to us: a request at a time, each answered before the next is read.
class ControlDoor::Peer final : public http::Handler {
 public:
  Peer(ControlDoor& door, os::Fd socket) : door_(door), socket_(std::move(socket)) {}

  Result<void> begin() {
    auto watch = door_.gateway_.loop().watch(socket_, *this);
    if (!watch) return fail(std::move(watch).error());
    watch_ = std::move(*watch);
    return {};
  }

  void on_ready(http::Ready /*ready*/) override {
    while (send_out()) {
      const auto body = frames_.next();
      if (!body) return door_.forget(*this);
      if (*body) {
        if (!take(**body)) return door_.forget(*this);
        continue;
      }
      const auto room = frames_.room();
      const ssize_t count = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) return door_.forget(*this);
      frames_.add(static_cast<std::size_t>(count));
    }
    if (broken_) door_.forget(*this);
  }
  void on_deadline() override {}

 private:
  // Only requests are understood here; another kind is of somebody who does not know us.
  bool take(const wire::Body& body) {
    const auto request = wire::decode<GatewayRequest>(body);
    if (!request) return false;
    const GatewayAnswer answer = door_.gateway_.carry_out(*request);
    if (request->what == GatewayRequest::What::samples) return true;
    std::vector<std::byte> buffer(wire::kMaxSmall + wire::kFrameHeader);
    auto frame = wire::encode(answer, buffer);
    if (!frame) {
      buffer.resize(wire::kMaxLarge + wire::kFrameHeader);
      frame = wire::encode(answer, buffer);
    }
    if (!frame) return false;
    out_.assign(reinterpret_cast<const char*>(frame->data()), frame->size());
    sent_ = 0;
    return true;
  }

  // True: nothing is left to send.
  bool send_out() {
    while (sent_ < out_.size()) {
      const ssize_t count = ::send(socket_.get(), out_.data() + sent_, out_.size() - sent_,
                                   MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count >= 0) {
        sent_ += static_cast<std::size_t>(count);
      } else if (errno != EINTR) {
        broken_ = errno != EAGAIN;
        return false;
      }
    }
    out_ = {};
    sent_ = 0;
    return true;
  }

  ControlDoor& door_;
  os::Fd socket_;
  http::Loop::Watch watch_;  // goes before its descriptor
  control::FrameBuffer frames_{wire::kMaxLarge};
  std::string out_;
  std::size_t sent_ = 0;
  bool broken_ = false;
};

ControlDoor::ControlDoor(Gateway& gateway, os::Fd listener)
    : gateway_(gateway), listener_(std::move(listener)) {}
ControlDoor::~ControlDoor() = default;

Result<std::unique_ptr<ControlDoor>> ControlDoor::open(Gateway& gateway, os::Fd listener) {
  std::unique_ptr<ControlDoor> door(new ControlDoor(gateway, std::move(listener)));
  auto watch = gateway.loop().watch(door->listener_, *door);
  if (!watch) return fail(std::move(watch).error());
  door->watch_ = std::move(*watch);
  return door;
}

void ControlDoor::on_ready(http::Ready /*ready*/) {
  while (true) {
    auto accepted = try_accept(listener_);
    if (!accepted || !*accepted) return;
    const auto peer = os::peer_of((*accepted)->socket);
    if (!peer || (peer->uid != 0 && peer->uid != ::geteuid()) || peers_.size() == kMostPeers)
      continue;
    auto one = std::make_unique<Peer>(*this, std::move((*accepted)->socket));
    if (one->begin()) peers_.push_back(std::move(one));
  }
}

void ControlDoor::forget(Peer& peer) {
  const auto at = std::ranges::find(peers_, &peer, &std::unique_ptr<Peer>::get);
  if (at != peers_.end()) peers_.erase(at);
}

}  // namespace gpuward::gateway
