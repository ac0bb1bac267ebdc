// `plan` and `reload`: the files are read again.

#include <algorithm>
#include <utility>

#include "config/problem.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "warden/warden.h"

namespace gpuward::warden {
namespace {

// Whoever asked is answered by then, also where some still wait for their turn: status says so.
constexpr auto kAnswerWithin = std::chrono::seconds(20);

}  // namespace

// Nothing at all changes where there is a mistake anywhere.
WardenAnswer Warden::reconfigure(bool only_plan) {
  WardenAnswer answer;
  auto parsed = read_files();
  if (!parsed.problems.empty()) {
    answer.exit_code = kFailed;
    answer.error = config::render(parsed.problems) + "nothing was changed";
    return answer;
  }
  answer.changes = fleet_.compare_with(parsed.services);
  if (only_plan) return answer;
  clerk_.set_policy(parsed.ledger);
  kernel_log_.read(parsed.host.kernel_log);
  choose_autostart(parsed.services);
  hooks_.configure(parsed.services);
  canaries_.configure(parsed.services);
  doors_.configure(parsed.services);
  fleet_.configure_again(std::move(parsed.services));
  return answer;
}

// What was added is started in its turn, like what starts with the warden: hundreds that are added
// at once keep nobody waiting who asks for something else meanwhile.
void Warden::reload(const std::shared_ptr<Link>& client, const WardenRequest& request,
                    std::vector<std::uint64_t> orders) {
  auto answer = reconfigure(false);
  if (!answer.error.empty()) {
    reply(client, answer);
    // Lines of the files, which are shown with their mistakes, may hold secrets.
    answer.error = "there are mistakes in the files; nothing was changed";
    return note_outcome(answer, request, orders);
  }
  std::vector<std::string> added;
  for (const auto& change : answer.changes)
    if (change.kind == ServiceChange::Kind::added &&
        std::ranges::find(autostart_, change.service) != autostart_.end())
      added.push_back(change.service);
  auto operation = Operation::of_the_warden(std::move(added));
  operation.begin(fleet_);
  Reload reload{std::move(answer), os::now() + kAnswerWithin};
  pending_.push_back({client,
                      std::move(operation),
                      std::make_unique<asio::steady_timer>(loop_),
                      request,
                      std::move(orders),
                      {},
                      std::move(reload),
                      {}});
  auto& timer = *pending_.back().timer;
  timer.expires_at(pending_.back().reload->by);
  timer.async_wait([this](const boost::system::error_code& code) {
    if (!code) advance();
  });
  advance();
}

// As soon as none of them waits for its turn: with those that could not even be begun. That they
// become ready is not waited for.
void Warden::answer_reload(Pending& pending) {
  if (pending.operation.waits_for_turn(fleet_) && os::now() < pending.reload->by) return;
  WardenAnswer answer = std::exchange(pending.reload, std::nullopt)->answer;
  for (const auto& [name, outcome] : pending.operation.outcomes())
    if (outcome.exit_code != kDone) answer.outcomes.push_back(outcome);
  if (!answer.outcomes.empty()) answer.exit_code = kFailed;
  if (!pending.orders.empty())
    note_outcome(answer, pending.request, std::exchange(pending.orders, {}));
  if (pending.client) reply(std::exchange(pending.client, nullptr), answer);
}

}  // namespace gpuward::warden
