#include "cli/warden_client.h"

#include <cstdio>

#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/socket.h"

namespace gpuward::cli {

Result<control::Channel> connect_warden(const control::Home& home) {
  auto dir = os::Fd::open(home.run, O_PATH | O_DIRECTORY);
  auto socket = dir ? os::connect_unix_at(*dir, "control") : Result<os::Fd>(fail(dir.error()));
  if (!socket) return fail(Errc::unreachable, "connect to the warden");
  return control::Channel(std::move(*socket), wire::kMaxLarge);
}

Result<WardenAnswer> ask_warden(control::Channel& channel, const WardenRequest& request,
                                Instant deadline) {
  GPUWARD_TRY(channel.send(request, deadline));
  auto body = channel.receive(deadline);
  if (!body) return fail(std::move(body).error());
  return wire::decode<WardenAnswer>(*body);
}

int complain(const Error& error) {
  std::fprintf(stderr, "gpuward: %s\n", error.message().c_str());
  if (error.code == make_error_code(Errc::unreachable)) return kNoWarden;
  return error.code == make_error_code(Errc::timed_out) ? kTimedOut : kFailed;
}

std::optional<control::Home> home_or_complain(int* exit_code) {
  auto home = control::find_home();
  if (home) return *home;
  *exit_code = complain(home.error());
  return std::nullopt;
}

}  // namespace gpuward::cli
