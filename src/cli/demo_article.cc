#include "cli/demo_article.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

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

// What the scripts are asked and what they tell, by lines through two named pipes. Both are opened
// for both directions, so that neither side waits in open(2).
class ScriptTalk {
 public:
  static Result<ScriptTalk> make(const std::string& folder) {
    ScriptTalk talk;
    talk.ask_path = folder + "/ask";
    talk.tell_path = folder + "/tell";
    if (::mkfifo(talk.ask_path.c_str(), 0600) < 0 || ::mkfifo(talk.tell_path.c_str(), 0600) < 0)
      return fail(last_error("make the pipes of the article's scripts in", folder));
    auto ask = os::Fd::open(talk.ask_path, O_RDWR);
    auto tell = os::Fd::open(talk.tell_path, O_RDWR);
    if (!ask) return fail(std::move(ask).error());
    if (!tell) return fail(std::move(tell).error());
    talk.ask_ = std::move(*ask);
    talk.tell_ = std::move(*tell);
    return talk;
  }

  Result<void> ask(std::string_view line) const {
    return os::write_all(ask_, std::string(line) + "\n", "ask the article's scripts");
  }

  Result<void> hear(std::string_view expected, Duration within) const {
    const Instant deadline = os::now() + within;
    pollfd item{tell_.get(), POLLIN, 0};
    std::string line;
    for (char c = 0; c != '\n';) {
      if (::poll(&item, 1, os::poll_timeout(deadline)) != 1 || ::read(item.fd, &c, 1) != 1)
        return fail(Errc::timed_out,
                    "wait until the article's scripts say '" + std::string(expected) + "'");
      if (c != '\n') line += c;
    }
    if (line == expected) return {};
    return fail(Errc::refused, "hear '" + std::string(expected) +
                                   "' from the article's scripts; they say '" + line + "'");
  }

  std::string ask_path, tell_path;

 private:
  os::Fd ask_, tell_;
};

// The article's start says nothing of readiness, so the port is tried: a listening socket of
// another process sends no event.
Result<void> await_listening(std::uint16_t port, Instant deadline) {
  const auto address = *os::parse_tcp_address("127.0.0.1:" + std::to_string(port));
  for (;;) {
    auto taken = os::port_taken(address);
    if (!taken) return fail(std::move(taken).error());
    if (*taken) return {};
    if (os::now() >= deadline) return fail(Errc::timed_out, "wait for the article's service");
    (void)::poll(nullptr, 0, 20);
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
  auto talk = ScriptTalk::make(stage.folder());
  if (!talk) return fail(std::move(talk).error());
  RunOptions options;
  options.name = "article";
  options.detach = true;
  options.grace = seconds(1);
  options.command = {stage.article() + "/leave-behind.sh", stage.folder() + "/article",
                     talk->ask_path, talk->tell_path};
  std::ranges::copy(stage.command(*port), std::back_inserter(options.command));
  if (run(options) != 0) return fail(Errc::refused, "run the article's scripts");
  GPUWARD_TRY(talk->hear("started", seconds(20)));
  GPUWARD_TRY(await_listening(*port, os::now() + seconds(20)));
  (void)send_films(films, {.port = *port, .most = 6, .patience = seconds(5), .ask_faults = true});
  GPUWARD_TRY(talk->ask("stop"));
  GPUWARD_TRY(talk->hear("stopped", seconds(30)));
  auto left = count_left();
  if (left) left->port = *port;
  return left;
}

}  // namespace gpuward::cli
