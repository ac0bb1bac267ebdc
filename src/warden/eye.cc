#include "warden/eye.h"

#include <boost/asio/write.hpp>
#include <csignal>
#include <utility>

#include "control/gpu_look.h"
#include "control/messages.h"

namespace gpuward::warden {

Result<void> Eye::open(const std::vector<std::string>& args, Duration silent_at_most,
                       OnSnapshot on_snapshot, OnGone on_gone) {
  auto serving = control::serve_sentinel(args);
  if (!serving) return fail(std::move(serving).error());
  process_ = std::move(serving->process);
  auto link = Link::take(loop_, std::move(serving->socket), wire::kMaxLarge);
  if (!link) return fail(std::move(link).error());
  link_ = *link;
  silent_at_most_ = silent_at_most;
  on_snapshot_ = std::move(on_snapshot);
  on_gone_ = std::move(on_gone);
  link_->start(
      [this](const wire::Body& body) {
        auto news = wire::decode<SnapshotNews>(body);
        if (!news || !link_) return;
        expect_news();
        // A copy: the handler may close this eye, and with it itself.
        const auto handler = on_snapshot_;
        handler(std::move(news->snapshot));
      },
      [this] { gone("gpuward-sentinel does not run"); });
  expect_news();
  return {};
}

void Eye::expect_news() {
  silence_.expires_after(silent_at_most_);
  silence_.async_wait([this](const boost::system::error_code& code) {
    if (!code && link_) gone("gpuward-sentinel says nothing any more");
  });
}

void Eye::gone(const char* why) {
  silence_.cancel();
  if (link_) link_->close();
  link_.reset();
  const auto handler = std::exchange(on_gone_, nullptr);
  if (handler) handler(why);
}

void Eye::look_now() {
  static const char ask = 'l';
  if (!link_) return;
  asio::async_write(link_->socket(), asio::buffer(&ask, 1),
                    [link = link_](const boost::system::error_code&, std::size_t) {});
}

os::Process Eye::close() {
  silence_.cancel();
  if (link_) link_->close();
  link_.reset();
  on_gone_ = nullptr;
  if (process_) (void)process_.signal(SIGKILL);
  return std::exchange(process_, os::Process());
}

}  // namespace gpuward::warden
