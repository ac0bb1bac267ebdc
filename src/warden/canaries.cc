#include "warden/canaries.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "config/canary_reader.h"
#include "os/clock.h"
#include "os/socket.h"
#include "warden/question.h"

namespace gpuward::warden {
namespace {

using std::chrono::milliseconds;

constexpr Duration kFirstWithin = std::chrono::seconds(5);
constexpr double kJitter = 0.1;

milliseconds in_ms(Duration duration) {
  return std::chrono::duration_cast<milliseconds>(duration);
}

// The address of the replica of @p member; empty: its port is not known.
std::string address_of(const Canary& canary, const Fleet::Member& member) {
  std::string address = canary.address.empty() ? "127.0.0.1:{port}" : canary.address;
  constexpr std::string_view kPort = "{port}";
  const auto at = address.find(kPort);
  if (at == address.npos) return address;
  if (member.plan.port == 0) return {};
  return address.replace(at, kPort.size(), std::to_string(member.plan.port));
}

std::string head_of(const Canary& canary, const std::string& address, const std::string* body) {
  std::string head = canary.method + " " + canary.path + " HTTP/1.1\r\nHost: " + address +
                     "\r\nUser-Agent: gpuward-canary/" GPUWARD_VERSION
                     "\r\nAccept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n";
  if (body != nullptr) head += "Content-Type: " + canary.type + "\r\n";
  if (canary.method != "GET")
    head += "Content-Length: " + std::to_string(body == nullptr ? 0 : body->size()) + "\r\n";
  return head + "\r\n";
}

struct Finding {
  CanaryResult result = CanaryResult::none;
  std::string detail;
};

// Holds nothing of the answer but its status (harm.md 11).
Finding judge(const Canary& canary, const std::optional<answer::KnownAnswer>& known,
              const Answer& answer) {
  switch (answer.end) {
    case Answer::End::refused:
      return {CanaryResult::failed, "refused the connection"};
    case Answer::End::unreached:
      return {};
    case Answer::End::closed:
      return {CanaryResult::failed, "closed the connection before its answer was whole"};
    case Answer::End::garbage:
      return {CanaryResult::failed, "answered what is no HTTP"};
    case Answer::End::whole:
    case Answer::End::long_:
      break;
  }
  const std::string status = std::to_string(answer.status);
  const auto by_status = judge_status(canary, answer.status);
  if (by_status == CanaryResult::busy) return {by_status, "answered " + status + ": busy"};
  if (by_status == CanaryResult::unexpected || by_status == CanaryResult::changed)
    return {by_status, "answered " + status + ", not " +
                           (canary.status == 0 ? "200 to 399" : std::to_string(canary.status))};
  if (by_status != CanaryResult::right || !known) return {by_status, "answered " + status};
  if (answer.end == Answer::End::long_)
    return {CanaryResult::changed, "its answer is longer than 1 MiB"};
  if (const auto where = known->difference(answer.body))
    return {CanaryResult::changed, "first difference " + *where};
  return {CanaryResult::right, "answered as known (" + status + ")"};
}

}  // namespace

Canaries::Canaries(asio::io_context& loop, const Fleet& fleet, Clerk& clerk)
    : loop_(loop), fleet_(fleet), clerk_(clerk), random_(std::random_device{}()) {}

void Canaries::configure(const std::vector<ServiceModel>& services) {
  std::map<std::string, std::unique_ptr<One>> before = std::exchange(canaries_, {});
  for (const auto& service : services) {
    if (!service.canary) continue;
    auto& one = canaries_[service.name];
    const auto old = before.find(service.name);
    if (old != before.end() && old->second->canary == *service.canary) {
      one = std::move(old->second);
    } else {
      one = std::make_unique<One>(loop_);
      one->canary = *service.canary;
    }
    read_files(service.name, *one);
  }
  for (auto& [name, one] : before)
    if (one) rest(*one);
  look();
}

// A question that is open goes on with what it was asked with.
void Canaries::read_files(const std::string& service, One& one) {
  auto files = config::read_canary_files(one.canary, "");
  one.body.reset();
  one.known = std::move(files.known);
  one.trouble.clear();
  if (!files.faults.empty()) {
    one.trouble = files.faults.front().what;
    std::fprintf(stderr, "gpuwardd: %s: its canary is not sent: %s\n", service.c_str(),
                 one.trouble.c_str());
    return rest(one);
  }
  if (!one.canary.body_file.empty())
    one.body = std::make_shared<const std::string>(std::move(files.body));
}

const Fleet::Member* Canaries::ready_member(const std::string& service) const {
  const auto* member = fleet_.find_member(service);
  if (member == nullptr || !member->alive || !member->heard) return nullptr;
  const AnchorState& state = member->state;
  const bool stays = !state.stop_asked && !state.restart_asked && !member->told_to_stop;
  return state.phase == Phase::ready && stays ? member : nullptr;
}

void Canaries::look() {
  for (auto& [service, one] : canaries_) {
    const auto* member = ready_member(service);
    const bool same = member != nullptr && member->state.generation == one->generation;
    if (member == nullptr || !one->trouble.empty() || !same) rest(*one);
    if (member == nullptr || !one->trouble.empty()) continue;
    if (!same) begin_anew(one->tally);
    one->generation = member->state.generation;
    // Many that are ready at once are not asked at once.
    const auto first = std::min<Duration>(one->canary.every, kFirstWithin);
    if (one->idle)
      wake_in(service, *one, std::chrono::duration_cast<Duration>(first * share(0, 1)));
  }
}

void Canaries::stop() {
  for (auto& [service, one] : canaries_) rest(*one);
}

void Canaries::rest(One& one) {
  if (one.question) one.question->close();
  one.question.reset();
  one.timer.cancel();
  one.turn = ++turns_;
  one.idle = true;
}

double Canaries::share(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random_);
}

void Canaries::wait(const std::string& service, One& one, Duration pause) {
  wake_in(service, one,
          std::chrono::duration_cast<Duration>(pause * share(1 - kJitter, 1 + kJitter)));
}

void Canaries::wake_in(const std::string& service, One& one, Duration pause) {
  one.idle = false;
  one.turn = ++turns_;
  one.timer.expires_after(pause);
  one.timer.async_wait([this, service, turn = one.turn](const boost::system::error_code& code) {
    const auto at = canaries_.find(service);
    if (code || at == canaries_.end() || at->second->turn != turn) return;
    due(service, *at->second);
  });
}

void Canaries::due(const std::string& service, One& one) {
  if (one.question) return late(service, one);
  const auto* member = ready_member(service);
  if (member == nullptr) return rest(one);
  const auto address = os::parse_tcp_address(address_of(one.canary, *member));
  if (!address || (may_ask_ && !may_ask_(service))) return wait(service, one, one.canary.every);
  one.asked = os::now();
  one.seen = 0;
  one.question = Question::ask(loop_, *address,
                               head_of(one.canary, address_of(one.canary, *member), one.body.get()),
                               one.body, [this, service](const Answer& answer) {
                                 if (const auto at = canaries_.find(service); at != canaries_.end())
                                   take(service, *at->second, answer);
                               });
  wake_in(service, one, one.canary.within);
}

// A service that may only be slow is told of and left with the question that it has.
void Canaries::late(const std::string& service, One& one) {
  const Instant now = os::now();
  const auto received = one.question->received();
  const bool silent = std::exchange(one.seen, received) == received;
  take_down(service, one, silent ? CanaryResult::silent : CanaryResult::late,
            (silent ? "no answer for " : "no whole answer for ") + to_string(now - one.asked));
  if (now - one.asked < kGivenUpAfter)
    return wake_in(service, one, std::max(one.canary.every, one.canary.within));
  one.question->close();
  one.question.reset();
  wait(service, one, std::min<Duration>(one.canary.every, kFirstWithin));
}

void Canaries::take(const std::string& service, One& one, const Answer& answer) {
  const auto took = in_ms(os::now() - one.asked);
  one.question.reset();
  // That it could not be asked, for want of descriptors or ports here, says nothing of it.
  if (answer.end != Answer::End::unreached) {
    auto found = judge(one.canary, one.known, answer);
    take_down(service, one, found.result, std::move(found.detail));
  }
  wait(service, one, pause_after(one.canary, took));
}

void Canaries::take_down(const std::string& service, One& one, CanaryResult result,
                         std::string detail) {
  const auto before = one.tally.settled;
  if (!note(one.tally, result, std::move(detail), os::now())) return;
  LedgerEntry entry;
  entry.kind = EventKind::canary;
  entry.service = service;
  entry.generation = one.generation;
  entry.why = std::string(to_string(before)) + " to " + std::string(to_string(result)) + ": it " +
              (result == CanaryResult::changed ? "gave another answer than the known one"
                                               : one.tally.detail);
  if (result == CanaryResult::changed) entry.evidence = "canary: " + one.tally.detail;
  clerk_.note({std::move(entry)});
}

const CanaryFacts* Canaries::facts(const std::string& service, std::uint32_t generation) const {
  const auto at = canaries_.find(service);
  if (at == canaries_.end()) return nullptr;
  const One& one = *at->second;
  const bool counts = one.trouble.empty() && one.generation == generation && one.tally.ended != 0;
  return counts ? &one.tally.facts : nullptr;
}

void Canaries::complete(StatusReport& report) const {
  const Instant now = os::now();
  for (auto& service : report.services) {
    const auto at = canaries_.find(service.name);
    if (at == canaries_.end()) continue;
    const One& one = *at->second;
    const CanaryTally& tally = one.tally;
    const auto* member = fleet_.find_member(service.name);
    const std::string address = member == nullptr ? std::string() : address_of(one.canary, *member);
    CanaryReport canary;
    canary.question = one.canary.method + " " + (address.empty() ? "{port}" : address) +
                      one.canary.path + " every " + to_string(one.canary.every);
    canary.golden = !one.canary.answer_file.empty();
    canary.last = tally.last;
    canary.detail = tally.detail;
    canary.age_seconds = std::chrono::duration<double>(now - tally.facts.last).count();
    canary.ended = tally.ended;
    canary.failed_in_a_row = tally.facts.failed_in_a_row;
    canary.silent_in_a_row = tally.facts.silent_in_a_row;
    canary.changed_in_a_row = tally.facts.changed_in_a_row;
    canary.trouble = one.trouble;
    const bool ready = ready_member(service.name) != nullptr;
    if (ready && canary.trouble.empty() && address.empty())
      canary.trouble = "its port is known from its next start on";
    // What the verdict's own evidence does not say.
    if (ready && (!canary.trouble.empty() || tally.last == CanaryResult::unexpected))
      service.evidence.push_back(
          {"canary", canary.trouble.empty() ? tally.detail : "not asked: " + canary.trouble,
           canary.trouble.empty() ? canary.age_seconds : 0});
    service.canary = std::move(canary);
  }
}

}  // namespace gpuward::warden
