#include "warden/sentinel.h"

#include <boost/asio/write.hpp>
#include <csignal>

#include "control/gpu_look.h"
#include "control/messages.h"
#include "os/clock.h"

namespace gpuward::warden {
namespace {
constexpr auto kLongestPause = std::chrono::milliseconds(60'000);
constexpr auto kSilentAtMost = std::chrono::seconds(5);
constexpr const char* kNotRunning = "gpuward-sentinel does not run";
}  // namespace

Sentinel::~Sentinel() {
  stop();
}

void Sentinel::start(std::function<void(GpuSnapshot)> on_snapshot) {
  on_snapshot_ = std::move(on_snapshot);
  launch();
}

void Sentinel::stop() {
  on_snapshot_ = nullptr;
  retry_.cancel();
  soon_.cancel();
  silence_.cancel();
  if (link_) link_->close();
  link_.reset();
  if (process_) (void)process_.signal(SIGKILL);
  process_ = os::Process();
}

void Sentinel::launch() {
  auto serving = control::serve_sentinel();
  auto link = serving ? Link::take(loop_, std::move(serving->socket), wire::kMaxLarge)
                      : Result<std::shared_ptr<Link>>(fail(serving.error()));
  if (!link) return launch_later(kNotRunning);
  process_ = std::move(serving->process);
  link_ = *link;
  link_->start(
      [this](const wire::Body& body) {
        auto news = wire::decode<SnapshotNews>(body);
        if (!news || !on_snapshot_) return;
        pause_ = std::chrono::milliseconds(1000);
        expect_news();
        on_snapshot_(std::move(news->snapshot));
      },
      [this] {
        link_.reset();
        launch_later(kNotRunning);
      });
  expect_news();
}

void Sentinel::expect_news() {
  silence_.expires_after(kSilentAtMost);
  silence_.async_wait([this](const boost::system::error_code& code) {
    if (code || !link_) return;
    link_->close();
    link_.reset();
    launch_later("gpuward-sentinel says nothing any more");
  });
}

void Sentinel::launch_later(const char* why) {
  if (!on_snapshot_) return;
  silence_.cancel();
  if (process_) (void)process_.signal(SIGKILL);
  process_ = os::Process();
  GpuSnapshot blind;
  blind.sight = GpuSight::failed;
  blind.detail = why;
  blind.taken_ns = os::now().time_since_epoch().count();
  on_snapshot_(std::move(blind));
  retry_.expires_after(pause_);
  pause_ = std::min(pause_ * 2, kLongestPause);
  retry_.async_wait([this](const boost::system::error_code& code) {
    if (!code && on_snapshot_) launch();
  });
}

void Sentinel::look_now() {
  static const char ask = 'l';
  if (!link_) return;
  asio::async_write(link_->socket(), asio::buffer(&ask, 1),
                    [link = link_](const boost::system::error_code&, std::size_t) {});
}

void Sentinel::look_in(Duration pause) {
  soon_.expires_after(pause);
  soon_.async_wait([this](const boost::system::error_code& code) {
    if (!code) look_now();
  });
}

}  // namespace gpuward::warden
