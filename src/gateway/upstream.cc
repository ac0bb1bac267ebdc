#include "gateway/upstream.h"

#include <algorithm>

#include "gateway/sockets.h"

namespace gpuward::gateway {

Upstream::Upstream(UpstreamPool& pool) : pool_(pool) {
  ++pool_.connections_;
}

Upstream::~Upstream() {
  --pool_.connections_;
}

void Upstream::on_ready(http::Ready ready) {
  peer_closed_ = peer_closed_ || ready.peer_closed;
  if (user_ != nullptr) return user_->on_upstream(ready);
  // Nobody asked for anything: it is closed, or what it says belongs to no request.
  if (ready.readable || ready.peer_closed) pool_.drop(*this);
}

void Upstream::on_deadline() {
  if (user_ == nullptr) pool_.drop(*this);
}

Result<std::unique_ptr<Upstream>> UpstreamPool::take(UpstreamUser& user) {
  if (!idle_.empty()) {
    auto upstream = std::move(idle_.back());
    idle_.pop_back();
    upstream->user_ = &user;
    upstream->used_before_ = true;
    upstream->watch_.clear_deadline();
    return upstream;
  }
  auto socket = os::start_connect(address_);
  if (!socket) return fail(std::move(socket).error());
  tune_upstream(*socket);
  auto upstream = std::make_unique<Upstream>(*this);
  upstream->socket_ = std::move(*socket);
  auto watch = loop_.watch(upstream->socket_, *upstream);
  if (!watch) return fail(std::move(watch).error());
  upstream->watch_ = std::move(*watch);
  upstream->user_ = &user;
  return upstream;
}

void UpstreamPool::put_back(std::unique_ptr<Upstream> upstream) {
  if (upstream->peer_closed_ || idle_.size() == kMostIdle) return;
  upstream->user_ = nullptr;
  upstream->watch_.set_deadline(loop_.now() + kIdle);
  idle_.push_back(std::move(upstream));
}

void UpstreamPool::drop(const Upstream& upstream) {
  const auto at = std::ranges::find(idle_, &upstream, &std::unique_ptr<Upstream>::get);
  if (at != idle_.end()) idle_.erase(at);
}

}  // namespace gpuward::gateway
