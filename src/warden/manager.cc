// What a warden that systemd started tells it.

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "os/socket.h"
#include "warden/warden.h"

namespace gpuward::warden {

// What systemd wants to hear, if it is systemd that started us: nothing of it is for our children.
void Warden::meet_manager() {
  const auto take = [](const char* name) {
    const char* value = std::getenv(name);
    std::string text = value == nullptr ? "" : value;
    ::unsetenv(name);
    return text;
  };
  manager_ = take("NOTIFY_SOCKET");
  const std::string usec = take("WATCHDOG_USEC");
  const std::string pid = take("WATCHDOG_PID");
  std::int64_t value = 0;
  (void)std::from_chars(usec.data(), usec.data() + usec.size(), value);
  const bool ours = pid.empty() || pid == std::to_string(::getpid());
  if (ours && value > 0) watchdog_every_ = std::chrono::microseconds(value / 2);
}

void Warden::tell_manager(std::string_view text) {
  if (manager_.empty()) return;
  auto told = os::notify(manager_, text);
  if (!told) std::fprintf(stderr, "gpuwardd: %s\n", told.error().message().c_str());
}

// From the loop itself: one that hangs is silent.
void Warden::feed_watchdog() {
  if (watchdog_every_ == Duration::zero()) return;
  tell_manager("WATCHDOG=1");
  watchdog_.expires_after(watchdog_every_);
  watchdog_.async_wait([this](const boost::system::error_code& code) {
    if (!code) feed_watchdog();
  });
}

}  // namespace gpuward::warden
