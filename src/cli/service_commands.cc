#include "cli/service_commands.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ranges>
#include <vector>

#include "base/utf8.h"
#include "cli/json.h"
#include "cli/memory_by_looks.h"
#include "cli/receipt.h"
#include "cli/stop_order.h"
#include "cli/take_over.h"
#include "cli/terminal.h"
#include "cli/warden_client.h"
#include "control/anchors.h"
#include "control/observe.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/spawn.h"

namespace gpuward::cli {
namespace {

constexpr auto kAnswerWithin = std::chrono::seconds(5);
constexpr auto kLeavesWithin = std::chrono::seconds(10);
constexpr int kAskAgainMs = 5000;
constexpr int kBeginsWithinMs = 30'000;

int no_warden() {
  std::fputs("gpuward: no warden runs here\nrun: gpuward up\n", stderr);
  return kNoWarden;
}

// What a service printed last usually says why it failed.
void print_last_lines(const control::Home& home, const std::string& service) {
  constexpr std::size_t kLines = 5;
  const std::string path = home.log + "/" + service + ".log";
  auto file = os::Fd::open_regular_at(os::Fd(), path.c_str(), O_RDONLY);
  if (!file) return;
  std::array<char, 4096> buffer;
  const off_t size = ::lseek(file->get(), 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(buffer.size()));
  const ssize_t n = ::pread(file->get(), buffer.data(), buffer.size(), from);
  if (n <= 0) return;
  std::string_view text(buffer.data(), static_cast<std::size_t>(n));
  if (text.ends_with('\n')) text.remove_suffix(1);
  std::vector<std::string_view> lines;
  while (lines.size() < kLines && !text.empty()) {
    const auto feed = text.rfind('\n');
    lines.push_back(feed == text.npos ? text : text.substr(feed + 1));
    text = feed == text.npos ? std::string_view() : text.substr(0, feed);
  }
  for (const auto line : lines | std::views::reverse)
    std::fprintf(stderr, "  | %s\n", shortened(printable(line), 160).c_str());
}

void print_outcomes(const control::Home& home, const WardenAnswer& answer, bool with_receipts) {
  for (const auto& outcome : answer.outcomes) {
    const auto receipt =
        std::ranges::find(answer.receipts, outcome.service, &NamedReceipt::service);
    if (with_receipts && receipt != answer.receipts.end() && outcome.exit_code != kFailed)
      print_receipt(stdout, outcome.service, receipt->receipt);
    if (outcome.exit_code == 0) {
      if (!with_receipts || receipt == answer.receipts.end())
        std::printf("%s: %s\n", outcome.service.c_str(), outcome.text.c_str());
      continue;
    }
    std::fprintf(stderr, "gpuward: %s: %s\n", outcome.service.c_str(), outcome.text.c_str());
    if (receipt != answer.receipts.end() && !receipt->receipt.survivors.empty())
      print_survivors(outcome.service, receipt->receipt);
    if (outcome.log_tells) print_last_lines(home, outcome.service);
  }
}

// Operations have their deadlines in the warden. Here it is only asked, from time to time, whether
// that one still answers anybody.
Result<void> wait_for_answer(const control::Home& home, int fd) {
  pollfd item{fd, POLLIN, 0};
  while (::poll(&item, 1, kAskAgainMs) == 0) {
    auto other = connect_warden(home);
    if (!other) continue;  // it has closed its doors: the answer is on its way
    auto alive = ask_warden(*other, WardenRequest{}, os::now() + kAnswerWithin);
    if (!alive && ::poll(&item, 1, 0) == 0)
      return fail(Errc::unreachable, "wait: the warden answers nobody");
  }
  return {};
}

// While a request takes its time, a terminal says that it is being waited for.
Result<WardenAnswer> ask_with_patience(const control::Home& home, control::Channel& channel,
                                       const WardenRequest& request, const char* doing) {
  pollfd item{channel.fd(), POLLIN, 0};
  GPUWARD_TRY(channel.send(request, os::now() + kAnswerWithin));
  if (::poll(&item, 1, 700) == 0 && ::isatty(STDERR_FILENO) == 1)
    std::fprintf(stderr, "%s ...\n", doing);
  GPUWARD_TRY(wait_for_answer(home, channel.fd()));
  auto body = channel.receive(os::now() + kAnswerWithin);
  if (!body) return fail(std::move(body).error());
  return wire::decode<WardenAnswer>(*body);
}

WardenRequest request_for(WardenRequest::What what, const ServiceOptions& options) {
  WardenRequest request;
  request.what = what;
  request.services = options.services;
  request.has_timeout = options.timeout.has_value();
  if (options.timeout) request.timeout = *options.timeout;
  request.anyway = options.anyway;
  request.left_of = options.left_of;
  return request;
}

int ask_and_print(WardenRequest::What what, const ServiceOptions& options, const char* doing,
                  bool with_receipts) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  auto channel = connect_warden(*home);
  if (!channel) return no_warden();
  auto answer = ask_with_patience(*home, *channel, request_for(what, options), doing);
  if (!answer) return complain(answer.error());
  if (!answer->error.empty()) std::fprintf(stderr, "gpuward: %s\n", answer->error.c_str());
  if (options.json && with_receipts) std::fputs(stop_json(answer->receipts).c_str(), stdout);
  print_outcomes(*home, options.json ? WardenAnswer{} : *answer, with_receipts);
  if (options.json)
    for (const auto& outcome : answer->outcomes)
      if (outcome.exit_code != 0)
        std::fprintf(stderr, "gpuward: %s: %s\n", outcome.service.c_str(), outcome.text.c_str());
  // Once it has closed its doors it still writes the end of the ledger; then its socket closes.
  if (what == WardenRequest::What::down && !connect_warden(*home))
    (void)channel->receive(os::now() + kLeavesWithin);
  return answer->exit_code;
}

// Asks the anchor to stop and follows it to the end. An anchor that was just ending by itself
// cannot be asked any more: its last word stands in the record.
Result<AnchorState> follow_stop(const control::AnchorFolder& folder, const AnchorState& last,
                                Instant deadline) {
  auto ask = [&]() -> Result<AnchorState> {
    auto channel = control::connect_anchor(folder);
    if (!channel) return fail(std::move(channel).error());
    MemoryByLooks memory(folder, last);
    AnchorRequest request;
    request.sees_gpu = memory.sees();
    GPUWARD_TRY(channel->send(request, deadline));
    request.what = AnchorRequest::What::stop;
    GPUWARD_TRY(channel->send(request, deadline));
    for (;;) {
      auto next = control::next_state(*channel, deadline);
      if (!next || is_over(next->phase) || next->phase == Phase::unkillable) return next;
      memory.answer_if_asked(*channel, *next);
    }
  };
  auto asked = ask();
  if (asked || asked.error().code != make_error_code(Errc::unreachable)) return asked;
  auto record = control::read_record(folder);
  return record && is_over(record->state.phase) ? Result<AnchorState>(record->state) : asked;
}

// 0: a new anchor leads the tree now; 4: it lives and nobody can lead it; -1: nothing of it lives.
int adopt_if_unowned(const control::AnchorFolder& folder) {
  auto view = control::view_anchor(folder, os::now() + std::chrono::seconds(1));
  if (!view || !control::tree_lives(folder, view->state)) return -1;
  auto adopted = control::adopt_anchor(folder);
  if (adopted || control::anchor_lives(folder)) return 0;  // or somebody else was faster
  std::fprintf(stderr, "gpuward: %s: not proven: its anchor died and its processes live on: %s\n",
               folder.service.c_str(), adopted.error().message().c_str());
  return kNotProven;
}

// An anchor that cannot be reached may just be dying, its lock still held: then the next one is
// asked.
Result<AnchorState> follow_stop_of_dying(const control::AnchorFolder& folder,
                                         const AnchorState& last, Instant deadline) {
  auto followed = follow_stop(folder, last, deadline);
  if (followed || followed.error().code != make_error_code(Errc::unreachable)) return followed;
  const Instant give_up = os::now() + os::kDyingOwner;
  while (control::anchor_lives(folder) && os::now() < give_up) ::poll(nullptr, 0, 2);
  if (control::anchor_lives(folder) || adopt_if_unowned(folder) != 0) return followed;
  return follow_stop(folder, last, deadline);
}

// Without a warden: straight to the anchor.
int stop_anchor(const control::AnchorFolder& folder, const ServiceOptions& options,
                std::vector<NamedReceipt>* receipts) {
  auto record = control::read_record(folder);
  if (!record) return complain(record.error());
  const auto wait = options.timeout.value_or(record->plan.grace + std::chrono::seconds(20));
  auto followed = follow_stop_of_dying(folder, record->state, os::now() + wait);
  if (!followed && followed.error().code == make_error_code(Errc::timed_out)) {
    std::fprintf(stderr, "gpuward: %s: not stopped within the time given\n",
                 folder.service.c_str());
    return kTimedOut;
  }
  if (!followed) return complain(followed.error());
  const AnchorState& state = *followed;
  receipts->push_back({folder.service, folder.replica, state.receipt});
  const int code = stop_exit_code(state, record->plan);
  if (!options.json) print_receipt(stdout, folder.service, state.receipt);
  if (code == kNotProven && !state.receipt.survivors.empty())
    print_survivors(folder.service, state.receipt);
  else if (code == kNotProven)
    std::fprintf(stderr, "gpuward: %s: not proven: %s\n", folder.service.c_str(),
                 std::string(why_not_proven(state, record->plan)).c_str());
  return code;
}

// Nothing lives; but an end that could not be proven does not become one by asking again.
int say_not_running(const control::AnchorFolder& folder, bool json) {
  const auto record = control::read_record(folder);
  if (record && record->state.receipt.only_seen) {
    std::fprintf(stderr, "gpuward: %s: was not running; of its last end: %s\n",
                 folder.service.c_str(),
                 std::string(why_not_proven(record->state, record->plan)).c_str());
    return kNotProven;
  }
  if (!json) std::printf("%s: was not running\n", folder.service.c_str());
  return kDone;
}

bool runs_meanwhile(const control::AnchorFolder& folder, const std::string& tree) {
  const auto view = control::view_anchor(folder, os::now() + kAnswerWithin);
  return !view || !is_left_over_of(view->state, tree, view->alive, os::lives(view->state.main));
}

int stop_by_anchors(const control::Home& home, const ServiceOptions& options,
                    std::vector<NamedReceipt>* receipts) {
  auto folders = control::list_anchors(home);
  if (!folders) return complain(folders.error());
  int code = 0;
  control::HomeGroups groups;
  const StartLinks links = recorded_links(*folders);
  for (const auto& name : in_start_order(links, options.services) | std::views::reverse) {
    const auto left = left_without(links, *folders, name, options.services);
    if (!left.empty()) {
      std::fprintf(stderr, "gpuward: %s: %s\n", name.c_str(), not_stopped_text(name, left).c_str());
      code = std::max(code, kFailed);
      continue;
    }
    auto folder = std::ranges::find(*folders, name, &control::AnchorFolder::service);
    const auto lost = control::lost_tree(
        home, folder == folders->end() ? control::anchor_folder(home, name, 0) : *folder, groups);
    if (lost) {
      std::fprintf(stderr, "gpuward: %s: not proven: %s\n", name.c_str(), lost->c_str());
      code = kNotProven;
    } else if (folder == folders->end()) {
      std::fprintf(stderr, "gpuward: %s: no such service (and no warden runs)\n", name.c_str());
      code = std::max(code, kFailed);
    } else if (!options.left_of.empty() && runs_meanwhile(*folder, options.left_of)) {
      std::fprintf(stderr,
                   "gpuward: %s: not stopped: it is not what was left over any more, it runs\n",
                   name.c_str());
      code = std::max(code, kFailed);
    } else if (!control::anchor_lives(*folder)) {
      const int adopted = adopt_if_unowned(*folder);
      if (adopted == 0)
        code = std::max(code, stop_anchor(*folder, options, receipts));
      else if (adopted > 0)
        code = std::max(code, adopted);
      else
        code = std::max(code, say_not_running(*folder, options.json));
      if (adopted < 0) control::remove_empty_group(home, *folder);
    } else {
      code = std::max(code, stop_anchor(*folder, options, receipts));
    }
  }
  return code;
}

int stop_without_warden(const control::Home& home, const ServiceOptions& options) {
  std::vector<NamedReceipt> receipts;
  const int code = stop_by_anchors(home, options, &receipts);
  if (options.json) std::fputs(stop_json(receipts).c_str(), stdout);
  return code;
}

// Starts the warden and waits for its word: an empty pipe at EOF means that it listens.
int start_warden(const control::Home& home, const UpOptions& options) {
  auto program = os::sibling_program("gpuwardd");
  if (!program) return complain(program.error());
  if (auto ready = control::prepare_home(home); !ready) return complain(ready.error());
  auto pipe = os::make_pipe();
  auto log = os::Fd::open(home.log + "/gpuwardd.log", O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (!pipe) return complain(pipe.error());
  if (!log) return complain(log.error());
  os::ProgramPlan plan;
  plan.path = *program;
  plan.args = {"--tell"};
  plan.args.insert(plan.args.end(), options.files.begin(), options.files.end());
  plan.out = plan.err = log->get();
  plan.handed = &pipe->write;
  auto started = os::start_program(plan);
  if (!started) return complain(started.error());
  pipe->write.close();
  std::string text;
  char buffer[1024];
  for (;;) {
    pollfd item{pipe->read.get(), POLLIN, 0};
    if (::poll(&item, 1, kBeginsWithinMs) == 0)
      return complain(Error(Errc::timed_out, "wait for the new warden; see gpuwardd.log"));
    const ssize_t n = ::read(pipe->read.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  // Another `up` was a moment earlier: its warden will do.
  if (text.empty() || text == control::kWardenRuns) return kDone;
  std::fprintf(stderr, "%s\n", text.c_str());
  return kFailed;
}

// A warden holds its lock before it listens.
Result<control::Channel> connect_soon(const control::Home& home) {
  const Instant give_up = os::now() + kAnswerWithin;
  for (;;) {
    auto channel = connect_warden(home);
    if (channel || os::now() >= give_up) return channel;
    (void)::poll(nullptr, 0, 10);
  }
}

// @p code is set when there is nothing to say any more: the new warden has told why it ended.
Result<WardenAnswer> ask_running_or_new(const control::Home& home, const UpOptions& options,
                                        int* code) {
  auto channel = connect_warden(home);
  if (channel && !options.files.empty()) {
    std::fputs(
        "gpuward: a warden runs already and keeps its files, so nothing was done\n"
        "run: gpuward reload, where they have changed; gpuward down, where others are meant\n",
        stderr);
    *code = kFailed;
    return fail(Errc::refused, "start the warden");
  }
  const auto what = channel ? WardenRequest::What::start_autostart
                            : WardenRequest::What::wait_autostart;  // a new one starts them itself
  if (!channel) {
    *code = start_warden(home, options);
    if (*code != 0) return fail(Errc::refused, "start the warden");
    channel = connect_soon(home);
    if (!channel) return fail(std::move(channel).error());
  }
  return ask_with_patience(home, *channel, request_for(what, {}),
                           "waiting until the services are ready");
}

}  // namespace

int stop_what_is_left(const control::Home& home, const std::string& service,
                      const std::string& tree, std::vector<NamedReceipt>* receipts) {
  ServiceOptions options;
  options.left_of = tree;
  options.services = {service};
  options.json = true;
  auto channel = connect_warden(home);
  if (!channel) return stop_by_anchors(home, options, receipts);
  auto answer = ask_with_patience(home, *channel, request_for(WardenRequest::What::stop, options),
                                  "stopping");
  if (!answer) return complain(answer.error());
  for (const auto& outcome : answer->outcomes)
    if (outcome.exit_code != 0)
      std::fprintf(stderr, "gpuward: %s: %s\n", outcome.service.c_str(), outcome.text.c_str());
  std::ranges::move(answer->receipts, std::back_inserter(*receipts));
  return answer->exit_code;
}

int up(const UpOptions& options) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  if (options.foreground) {
    auto program = os::sibling_program("gpuwardd");
    if (!program) return complain(program.error());
    std::vector<char*> argv = {program->data()};
    for (const auto& file : options.files) argv.push_back(const_cast<char*>(file.c_str()));
    argv.push_back(nullptr);
    ::execv(program->c_str(), argv.data());
    return complain(last_error("execute", *program));
  }
  auto answer = ask_running_or_new(*home, options, &code);
  // A warden that was just dying took the question with it: a new one is started after all.
  if (!answer && answer.error().code == make_error_code(Errc::unreachable))
    answer = ask_running_or_new(*home, options, &code);
  if (code != 0) return code;
  if (!answer) return complain(answer.error());
  print_outcomes(*home, *answer, false);
  std::printf("%s\n", paint(Tone::faint, "next: gpuward status").c_str());
  return answer->exit_code;
}

int down(const ServiceOptions& options) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  if (!connect_warden(*home)) {
    ServiceOptions all = options;
    auto folders = control::list_anchors(*home);
    if (!folders) return complain(folders.error());
    for (const auto& folder : *folders) all.services.push_back(folder.service);
    ::unlink(home->chosen_files().c_str());
    return stop_without_warden(*home, all);
  }
  return ask_and_print(WardenRequest::What::down, options, "stopping every service", true);
}

int start(const ServiceOptions& options) {
  if (options.take_over) {
    int code = 0;
    const auto home = home_or_complain(&code);
    if (!home) return code;
    if (!connect_warden(*home)) return no_warden();
    if (code = take_over(*home, options); code != kDone) return code;
  }
  return ask_and_print(WardenRequest::What::start, options, "waiting until it is ready", false);
}

int stop(const ServiceOptions& options) {
  int code = 0;
  const auto home = home_or_complain(&code);
  if (!home) return code;
  if (!connect_warden(*home)) return stop_without_warden(*home, options);
  return ask_and_print(WardenRequest::What::stop, options, "stopping", true);
}

std::optional<WardenAnswer> order_and_wait(const WardenRequest& request, const char* doing,
                                           bool as_json, int* code) {
  const auto home = home_or_complain(code);
  if (!home) return std::nullopt;
  auto channel = connect_warden(*home);
  if (!channel) {
    *code = no_warden();
    return std::nullopt;
  }
  auto answer = ask_with_patience(*home, *channel, request, doing);
  if (!answer) {
    *code = complain(answer.error());
    return std::nullopt;
  }
  *code = answer->exit_code;
  if (!answer->error.empty()) std::fprintf(stderr, "gpuward: %s\n", answer->error.c_str());
  if (!as_json) print_outcomes(*home, *answer, true);
  return std::move(*answer);
}

int restart(const ServiceOptions& options) {
  return ask_and_print(WardenRequest::What::restart, options, "restarting", true);
}

}  // namespace gpuward::cli
