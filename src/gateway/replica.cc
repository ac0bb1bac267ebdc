#include "gateway/replica.h"

#include <algorithm>

namespace gpuward::gateway {

bool Replica::tell(const DoorReplica& news) {
  const bool moved = news.endpoint != told_.endpoint || pools_.empty();
  // A process that was down and is ready again is another one, at the same place.
  const bool another = moved || (told_.state == ReplicaState::down && news.state != told_.state);
  told_ = news;
  if (moved) {
    const auto address = os::parse_tcp_address(news.endpoint);
    if (address) pools_.push_back(std::make_unique<UpstreamPool>(loop_, *address));
  }
  for (const auto& pool : pools_)
    if (another || pool != pools_.back()) pool->close_idle();
  std::erase_if(
      pools_, [&](const auto& pool) { return pool != pools_.back() && pool->connections() == 0; });
  if (another || news.state == ReplicaState::down) {
    lost_ = false;
    watch_.reset();
    trial_.close();
  }
  return another;
}

Result<std::unique_ptr<Upstream>> Replica::connect(UpstreamUser& user) {
  if (pools_.empty()) return fail(Errc::not_found, "find where a replica listens");
  return pools_.back()->take(user);
}

void Replica::put_back(std::unique_ptr<Upstream> upstream) {
  auto& pool = upstream->pool();
  if (&pool == pools_.back().get()) pool.put_back(std::move(upstream));
}

void Replica::not_reached() {
  if (lost_ || pools_.empty()) return;
  lost_ = true;
  pause_ = kFirstTry;
  pools_.back()->close_idle();
  try_soon();
}

void Replica::try_soon() {
  watch_ = loop_.timer(*this);
  watch_.set_deadline(loop_.now() + pause_);
  pause_ = std::min(pause_ * 2, kLastTry);
}

void Replica::on_deadline() {
  watch_.reset();
  const auto address = os::parse_tcp_address(told_.endpoint);
  auto trial = address ? os::start_connect(*address)
                       : Result<os::Fd>(fail(Errc::invalid, "read an address"));
  if (!trial) return try_soon();
  trial_ = std::move(*trial);
  auto watch = loop_.watch(trial_, *this);
  if (!watch) return try_soon();
  watch_ = std::move(*watch);
}

void Replica::on_ready(http::Ready ready) {
  if (!ready.writable && !ready.peer_closed) return;
  const int code = os::connect_result(trial_);
  watch_.reset();
  trial_.close();
  if (code != 0) return try_soon();
  lost_ = false;
  on_found_();
}

}  // namespace gpuward::gateway
