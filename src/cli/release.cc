#include "cli/release.h"

#include <cstdio>
#include <vector>

#include "cli/json.h"
#include "cli/receipt.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/anchors.h"
#include "control/observe.h"
#include "domain/exit_code.h"
#include "os/clock.h"

namespace gpuward::cli {
namespace {

constexpr auto kWithin = std::chrono::seconds(10);

int refuse(const std::string& service, const char* why, const char* next) {
  std::fprintf(stderr, "gpuward: %s: %s, so nothing was given up\nrun: %s\n", service.c_str(), why,
               next);
  return kFailed;
}

bool runs(Phase phase) {
  return phase == Phase::starting || phase == Phase::ready;
}

// The last word of an anchor that has given its tree up, or the state in which it does not.
Result<AnchorState> ask(const control::AnchorFolder& folder) {
  const Instant deadline = os::now() + kWithin;
  auto channel = control::connect_anchor(folder);
  if (!channel) return fail(std::move(channel).error());
  AnchorRequest request;
  GPUWARD_TRY(channel->send(request, deadline));
  request.what = AnchorRequest::What::release;
  GPUWARD_TRY(channel->send(request, deadline));
  bool first = true;
  for (;;) {
    auto state = control::next_state(*channel, deadline);
    if (!state || is_over(state->phase)) return state;
    // The first answers the subscription.
    if (!std::exchange(first, false) && !runs(state->phase)) return state;
  }
}

}  // namespace

int release(const std::string& service, bool json) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  const auto folder = control::anchor_folder(*home, service, 0);
  const auto view = control::view_anchor(folder, os::now() + kWithin);
  if (!view) return refuse(service, "it has never run here", "gpuward status");
  if (!view->alive && control::tree_lives(folder, view->state))
    return refuse(service, "its anchor died and its processes run on unowned", "gpuward up");
  if (!view->alive || !runs(view->state.phase))
    return refuse(service, "it does not run", "gpuward status");
  if (view->state.init)
    return refuse(service, "it lives in a PID namespace, which ends with its anchor",
                  "gpuward explain");
  if (view->state.container.awaited)
    return refuse(service, "it is a container, which its engine leads", "gpuward explain");
  const auto state = ask(folder);
  if (!state) return complain(state.error());
  const Receipt& receipt = state->receipt;
  if (!receipt.released.all) return refuse(service, "it was just ending", "gpuward status");
  if (json) {
    std::fputs(stop_json({{service, 0, receipt}}).c_str(), stdout);
    return kDone;
  }
  print_receipt(stdout, service, receipt);
  std::printf("%s\n", paint(Tone::faint,
                            "gpuward leads them no more; what they print still comes "
                            "into its log\nnext: gpuward logs " +
                                service)
                          .c_str());
  return kDone;
}

}  // namespace gpuward::cli
