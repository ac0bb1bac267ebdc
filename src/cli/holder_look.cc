#include "cli/holder_look.h"

#include <algorithm>

#include "base/utf8.h"
#include "cli/terminal.h"
#include "cli/user_name.h"
#include "cli/warden_client.h"
#include "control/gpu_look.h"
#include "control/holders.h"
#include "domain/container.h"
#include "os/clock.h"
#include "os/fd.h"

namespace gpuward::cli {
namespace {

constexpr auto kLookWithin = std::chrono::seconds(5);

// @p silent: a warden runs, and this is not for want of one.
std::optional<HolderLook> ask(const control::Home& home, bool* silent) {
  auto channel = connect_warden(home);
  if (!channel) return std::nullopt;
  WardenRequest request;
  request.what = WardenRequest::What::holders;
  auto answer = ask_warden(*channel, request, os::now() + kLookWithin);
  // Unreachable: it was just ending.
  *silent = !answer && answer.error().code != make_error_code(Errc::unreachable);
  if (!answer || !answer->status) return std::nullopt;
  StatusReport& status = *answer->status;
  // It has not looked yet, or is older than this question.
  if (status.gpu.sight == GpuSight::unknown) return std::nullopt;
  if (status.card_sums.size() != status.gpu.devices.size()) return std::nullopt;
  return HolderLook{true,
                    false,
                    std::move(status.gpu),
                    std::move(status.holders),
                    std::move(status.card_sums),
                    std::move(status.kernel_log),
                    std::move(status.incidents),
                    std::move(status.cards)};
}

}  // namespace

HolderLook look_at_holders(const control::Home& home) {
  HolderLook look;
  if (auto told = ask(home, &look.warden_silent)) return std::move(*told);
  look.gpu = control::look_at_gpus(os::now() + kLookWithin);
  const bool anyone = std::ranges::any_of(look.gpu.devices,
                                          [](const auto& card) { return !card.processes.empty(); });
  const auto trees = anyone && look.gpu.pids_are_ours
                         ? control::known_trees(home, os::now() + kLookWithin)
                         : control::KnownTrees();
  auto holders = control::HolderSurvey().report(look.gpu, trees, os::now());
  look.holders = std::move(holders.list);
  look.cards = std::move(holders.cards);
  return look;
}

std::string user_of(const HolderReport& holder) {
  static const std::string passwd = os::read_file("/etc/passwd", 4 << 20).value_or("");
  return holder.uid ? user_name(*holder.uid, passwd) : "";
}

std::string origin_text(const HolderReport& holder) {
  std::string text = user_of(holder);
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (!holder.container.empty()) add("container " + short_id(holder.container));
  if (!holder.unit.empty()) add("unit " + printable(holder.unit));
  if (!holder.terminal.empty())
    add((holder.terminal.starts_with("an ") ? "" : "in ") + holder.terminal);
  std::string ports;
  for (const auto port : holder.ports) ports += (ports.empty() ? "" : " ") + std::to_string(port);
  if (!ports.empty()) add((holder.ports.size() == 1 ? "port " : "ports ") + ports);
  if (holder.idle_ms) add("idle for " + to_string(std::chrono::milliseconds(*holder.idle_ms)));
  return text;
}

}  // namespace gpuward::cli
