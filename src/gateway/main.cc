// gpuward-gateway: the door in front of services. Started by its anchor, which holds the sockets,
// or by hand in front of one service.

#include <sys/resource.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "gateway/gateway.h"
#include "gateway/handed.h"
#include "gateway/options.h"
#include "gateway/plan.h"
#include "os/socket.h"

namespace {

using namespace gpuward;
using namespace gpuward::gateway;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int fail_with(const Error& error) {
  std::fprintf(stderr, "gpuward-gateway: %s\n", error.message().c_str());
  return kFailed;
}

/// TERM and INT: what is under way is finished, but for @p grace at most. The second one ends it.
class Signals final : public http::Handler {
 public:
  Result<void> begin(Gateway& gateway, Duration grace) {
    gateway_ = &gateway;
    grace_ = grace;
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGTERM);
    ::sigaddset(&set, SIGINT);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    fd_ = os::Fd::take(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_) return fail(last_error("wait for signals"));
    auto watch = gateway.loop().watch(fd_, *this);
    if (!watch) return fail(std::move(watch).error());
    watch_ = std::move(*watch);
    return {};
  }
  void on_ready(http::Ready /*ready*/) override {
    signalfd_siginfo info;
    while (::read(fd_.get(), &info, sizeof info) == sizeof info)
      gateway_->stop(std::exchange(told_, true) ? Duration{} : grace_);
  }
  void on_deadline() override {}

 private:
  Gateway* gateway_ = nullptr;
  Duration grace_{};
  bool told_ = false;
  os::Fd fd_;
  http::Loop::Watch watch_;
};

/// Two descriptors a stream: as many as this process may have.
void raise_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<std::vector<Door>> take_sockets_and_plan(Gateway& gateway, std::vector<Handed> handed) {
  std::vector<Door> doors;
  for (Handed& one : handed) {
    if (one.name == "plan") {
      auto plan = read_plan(one.fd);
      if (!plan) return fail(std::move(plan).error());
      doors = std::move(*plan);
    } else if (one.name == "control") {
      GPUWARD_TRY(gateway.listen_for_orders(std::move(one.fd)));
    } else {
      gateway.add_socket(one.name, std::move(one.fd));
    }
  }
  return doors;
}

Result<std::vector<Door>> listen_by_hand(Gateway& gateway, const Options& options) {
  const auto address = os::parse_tcp_address(options.door.model.listen);
  if (!address) return fail(Errc::invalid, "read the address '" + options.door.model.listen + "'");
  auto listener = os::listen_tcp(*address);
  if (!listener) return fail(std::move(listener).error());
  gateway.add_socket(options.door.service, std::move(*listener));
  return std::vector<Door>{options.door};
}

int serve(const Options& options) {
  raise_descriptors();
  ::signal(SIGPIPE, SIG_IGN);
  auto gateway = Gateway::make(options.spill_folder);
  if (!gateway) return fail_with(gateway.error());
  Signals signals;
  if (auto begun = signals.begin(**gateway, options.drain); !begun) return fail_with(begun.error());
  auto doors = options.by_hand ? listen_by_hand(**gateway, options)
                               : take_sockets_and_plan(**gateway, take_handed());
  if (!doors) return fail_with(doors.error());
  for (const Door& door : *doors) {
    const auto set = (*gateway)->set_door(door);
    if (set) continue;
    std::fprintf(stderr, "gpuward-gateway: open the door of '%s': %s\n", door.service.c_str(),
                 set.error().message().c_str());
    if (options.by_hand) return kFailed;
  }
  if (const char* socket = std::getenv("NOTIFY_SOCKET"); socket != nullptr)
    if (auto told = os::notify(socket, "READY=1"); !told) return fail_with(told.error());
  if (auto ran = (*gateway)->run(); !ran) return fail_with(ran.error());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = read_options({argv + 1, argv + argc});
  if (!options) {
    std::fprintf(stderr, "gpuward-gateway: %s\nsee: gpuward-gateway --help\n",
                 options.error().c_str());
    return kUsage;
  }
  if (options->help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  return serve(*options);
}
