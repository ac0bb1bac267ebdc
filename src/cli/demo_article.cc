#include "cli/demo_article.h"

#include <poll.h>

#include <algorithm>

#include "cli/run.h"
#include "control/gpu_look.h"
#include "control/observe.h"
#include "os/clock.h"
#include "os/fd.h"
#include "os/socket.h"

namespace gpuward::cli {
namespace {

using std::chrono::seconds;

constexpr auto kTrial = std::chrono::milliseconds(20);

// The article's start says nothing of readiness, so the port is tried: a listening socket of
// another process sends no event.
Result<void> await_listening(std::uint16_t port, Instant deadline) {
  const auto address = *os::parse_tcp_address("127.0.0.1:" + std::to_string(port));
  for (;;) {
    auto taken = os::port_taken(address);
    if (!taken) return fail(std::move(taken).error());
    if (*taken) return {};
    if (os::now() >= deadline) return fail(Errc::timed_out, "wait for the article's service");
    (void)::poll(nullptr, 0, static_cast<int>(kTrial.count()));
  }
}

// The last thing that leave-behind.sh prints, after the stop script has come back.
Result<void> await_stopped(const std::string& log, Instant deadline) {
  for (;;) {
    auto text = os::read_file(log);
    if (text && text->find("\nleft behind: ") != std::string::npos) return {};
    if (os::now() >= deadline) return fail(Errc::timed_out, "wait for the article's stop script");
    (void)::poll(nullptr, 0, static_cast<int>(kTrial.count()));
  }
}

// All of the tree but the script that is its main.
Result<ArticleLeft> count_left() {
  auto home = control::find_home();
  if (!home) return fail(std::move(home).error());
  const Instant deadline = os::now() + seconds(5);
  auto view = control::view_anchor(control::anchor_folder(*home, "article", 0), deadline);
  if (!view) return fail(std::move(view).error());
  const auto gpu = control::look_at_gpus(deadline);
  const auto report = control::report_on("article", {*view}, gpu, os::now());
  if (report.replicas.empty()) return fail(Errc::not_found, "find the tree 'article'");
  ArticleLeft left;
  left.processes = report.replicas[0].processes > 0 ? report.replicas[0].processes - 1 : 0;
  left.gpu_memory = report.replicas[0].gpu_memory.value_or(Bytes{});
  return left;
}

}  // namespace

Result<ArticleLeft> play_article(const DemoStage& stage, const std::vector<Film>& films) {
  auto port = os::free_loopback_port();
  if (!port) return fail(std::move(port).error());
  const std::string stop = stage.folder() + "/stop-the-article";
  RunOptions options;
  options.name = "article";
  options.detach = true;
  options.grace = seconds(1);
  options.command = {stage.article() + "/leave-behind.sh", "--hold", "--until",
                     "[ -e '" + stop + "' ]", "--"};
  std::ranges::copy(stage.command(*port), std::back_inserter(options.command));
  if (run(options) != 0) return fail(Errc::refused, "run the article's scripts");
  GPUWARD_TRY(await_listening(*port, os::now() + seconds(20)));
  (void)send_films(films, {.port = *port, .most = 6, .patience = seconds(5), .ask_faults = true});
  auto asked = os::Fd::open(stop, O_WRONLY | O_CREAT, 0600);
  if (!asked) return fail(std::move(asked).error());
  GPUWARD_TRY(await_stopped(stage.folder() + "/home/log/article.log", os::now() + seconds(30)));
  auto left = count_left();
  if (left) left->port = *port;
  return left;
}

}  // namespace gpuward::cli
