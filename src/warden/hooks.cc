#include "warden/hooks.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "os/clock.h"
#include "os/proc_fs.h"
#include "os/spawn.h"

namespace gpuward::warden {
namespace {

constexpr std::size_t kMostLogBytes = 8192;
constexpr int kDeepest = 16;
constexpr const char* kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string without_nul(std::string text) {
  std::ranges::replace(text, '\0', '?');
  return text;
}

std::string join(std::string text, const std::string& more) {
  if (more.empty()) return text;
  return text.empty() ? more : text + "; " + more;
}

// Who is still a child of @p parent when it is held is the one that was meant.
void kill_below(Pid parent, int depth) {
  if (depth > kDeepest) return;
  (void)os::for_each_child(parent, [&](Pid child) {
    auto held = os::Process::open(child);
    const auto stat = held ? os::read_stat(child) : Result<os::ProcStat>(fail(held.error()));
    if (!stat || stat->parent != parent || stat->start_ticks != held->id().start_ticks) return;
    kill_below(child, depth + 1);
    (void)held->signal(SIGKILL);
  });
}

std::string end_text(int status) {
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  const int code = WEXITSTATUS(status);
  return "exit " + std::to_string(code) +
         (code == 127 ? ": it could not be found or executed" : std::string());
}

}  // namespace

void Hooks::configure(const std::vector<ServiceModel>& services) {
  for (auto& [name, service] : services_) service.hooks.clear();
  for (const auto& model : services) {
    if (model.hooks.empty()) continue;
    Service& service = services_[model.name];
    service.hooks = model.hooks;
    service.log_lines = model.hook_log_lines;
    std::vector<std::string> events;
    events.reserve(model.hooks.size());
    for (const auto& hook : model.hooks) events.push_back(hook.event);
    service.queue.keep_only(events);
  }
  // One that runs is waited for.
  std::erase_if(services_, [](const auto& item) {
    return item.second.hooks.empty() && !item.second.queue.running();
  });
}

std::vector<std::string> Hooks::names() const {
  std::vector<std::string> names;
  names.reserve(services_.size());
  for (const auto& [name, service] : services_) names.push_back(name);
  return names;
}

void Hooks::on_entry(const LedgerEntry& entry) {
  const auto at = services_.find(entry.service);
  if (at == services_.end() || !may_have_hook(entry.kind)) return;
  happened(entry.service, at->second, std::string(to_string(entry.kind)),
           join(join(entry.why, entry.evidence), entry.outcome));
}

void Hooks::on_verdict(const std::string& name, Verdict verdict, const std::string& sentence) {
  const auto at = services_.find(name);
  if (at == services_.end()) return;
  Service& service = at->second;
  service.sentence = sentence;
  const auto before = std::exchange(service.verdict, verdict);
  if (before && *before != verdict)
    happened(name, service, std::string(to_string(verdict)), sentence);
}

void Hooks::happened(const std::string& name, Service& service, const std::string& event,
                     const std::string& sentence) {
  if (std::ranges::find(service.hooks, event, &Hook::event) == service.hooks.end()) return;
  const std::string verdict = service.verdict ? std::string(to_string(*service.verdict)) : "";
  if (!service.queue.add({event, verdict, sentence, os::unix_ms_now()}, os::now()))
    return wait_for_kept_back();
  if (std::ranges::find(ready_, name) == ready_.end()) ready_.push_back(name);
  pump();
}

void Hooks::pump() {
  while (running_ < kMostAtOnce && !ready_.empty()) {
    const std::string name = std::move(ready_.front());
    ready_.pop_front();
    const auto at = services_.find(name);
    if (at == services_.end()) continue;
    if (auto run = at->second.queue.next(os::now())) note_and_start(name, at->second, *run);
  }
}

// Those whose time has come wait for their turn like all others, and need no timer.
void Hooks::wait_for_kept_back() {
  Instant due = Instant::max();
  for (const auto& [name, service] : services_)
    if (const Instant one = service.queue.next_due(); one > os::now()) due = std::min(due, one);
  if (due == std::exchange(kept_back_until_, due) || due == Instant::max()) return;
  kept_back_.expires_at(due);
  kept_back_.async_wait([this](const boost::system::error_code& code) {
    if (code) return;
    kept_back_until_ = Instant::max();
    for (const auto& [name, service] : services_)
      if (service.queue.next_due() <= os::now() && std::ranges::find(ready_, name) == ready_.end())
        ready_.push_back(name);
    pump();
    wait_for_kept_back();
  });
}

// The intent is on record before the command is begun.
void Hooks::note_and_start(const std::string& name, Service& service, const HookQueue::Run& run) {
  ++running_;
  const auto hook = std::ranges::find(service.hooks, run.news.event, &Hook::event);
  LedgerEntry entry;
  entry.kind = EventKind::hook;
  entry.service = name;
  entry.why = run.news.event;
  if (hook != service.hooks.end()) entry.evidence = hook->command.front();
  if (run.counted != 0)
    entry.evidence += "; " + std::to_string(run.counted) + " more of it were not run";
  clerk_.note_before({entry},
                     [this, name, run](std::uint64_t number) { start(name, run, number); });
}

void Hooks::start(const std::string& name, const HookQueue::Run& run, std::uint64_t intent) {
  const auto at = services_.find(name);
  if (at == services_.end()) return;
  Service& service = at->second;
  const auto hook = std::ranges::find(service.hooks, run.news.event, &Hook::event);
  if (hook == service.hooks.end())
    return ended(name, service, "not run: the file has no such hook any more", intent,
                 run.news.event);
  const auto variables = environment(name, service, run);
  os::ProgramPlan plan;
  plan.path = hook->command.front();
  plan.args.assign(hook->command.begin() + 1, hook->command.end());
  plan.environment = &variables;
  plan.foreign = true;
  plan.parent_death_signal = SIGKILL;
  auto process = os::start_program(plan);
  if (!process) return ended(name, service, process.error().message(), intent, run.news.event);
  Running running{
      std::move(*process), run.news.event, intent,
      os::now(),           false,          std::make_unique<asio::steady_timer>(loop_, kDeadline)};
  running.deadline->async_wait([this, name](const boost::system::error_code& code) {
    const auto late = services_.find(name);
    if (code || late == services_.end() || !late->second.running) return;
    late->second.running->late = true;
    kill_tree(late->second.running->process);
  });
  service.running = std::move(running);
}

// Its leader is our child and not reaped: its number, which is also that of its group, is nobody
// else's. What has left the group is found below the leader, as long as its parents live.
void Hooks::kill_tree(const os::Process& leader) {
  kill_below(leader.pid(), 0);
  ::kill(-leader.pid().number, SIGKILL);
}

bool Hooks::reap(Pid pid) {
  const auto at = std::ranges::find_if(services_, [&](const auto& item) {
    return item.second.running && item.second.running->process.pid() == pid;
  });
  if (at == services_.end()) return false;
  const std::string name = at->first;  // it may go when this has ended
  const Running running = std::move(*at->second.running);
  at->second.running.reset();
  kill_tree(running.process);  // what it left behind ends with it
  int status = 0;
  while (::waitpid(pid.number, &status, 0) < 0 && errno == EINTR) {
  }
  const std::string took = ", after " + to_string(os::now() - running.began);
  ended(name, at->second,
        running.late ? "killed: it did not end within " + to_string(kDeadline)
                     : end_text(status) + took,
        running.intent, running.event);
  return true;
}

void Hooks::ended(const std::string& name, Service& service, const std::string& how,
                  std::uint64_t intent, const std::string& event) {
  LedgerEntry entry;
  entry.kind = EventKind::hook_done;
  entry.service = name;
  entry.why = event;
  entry.outcome = how;
  entry.of = intent;
  clerk_.note({entry});
  --running_;
  service.queue.ended();
  if (service.hooks.empty()) {
    services_.erase(name);
  } else if (std::ranges::find(ready_, name) == ready_.end()) {
    ready_.push_back(name);
  }
  pump();
  wait_for_kept_back();
}

void Hooks::end_all(std::chrono::milliseconds patience) {
  ready_.clear();
  const Instant until = os::now() + patience;
  for (auto& [name, service] : services_) {
    service.hooks.clear();  // nothing begins any more
    if (!service.running) continue;
    pollfd item{service.running->process.poll_fd(), POLLIN, 0};
    (void)::poll(&item, 1, os::poll_timeout(until));
    kill_tree(service.running->process);
    while (::waitpid(service.running->process.pid().number, nullptr, 0) < 0 && errno == EINTR) {
    }
    LedgerEntry entry;
    entry.kind = EventKind::hook_done;
    entry.service = name;
    entry.why = service.running->event;
    entry.outcome = "ended with the warden";
    entry.of = service.running->intent;
    clerk_.note({std::move(entry)});
    service.running.reset();
  }
}

// Made for it: of the warden's environment, which may hold secrets, only where its home is.
std::vector<std::string> Hooks::environment(const std::string& name, const Service& service,
                                            const HookQueue::Run& run) const {
  std::vector<std::string> list = {kPath, "LANG=C.UTF-8"};
  const auto pass = [&](const char* variable) {
    const char* value = std::getenv(variable);
    if (value != nullptr) list.push_back(std::string(variable) + "=" + value);
  };
  pass("HOME");
  pass("GPUWARD_HOME");
  const auto add = [&](const char* variable, const std::string& value) {
    list.push_back(std::string(variable) + "=" + without_nul(value));
  };
  add("GPUWARD_EVENT", run.news.event);
  add("GPUWARD_SERVICE", name);
  add("GPUWARD_VERDICT",
      service.verdict ? std::string(to_string(*service.verdict)) : run.news.verdict);
  add("GPUWARD_SENTENCE", run.news.sentence.empty() ? service.sentence : run.news.sentence);
  add("GPUWARD_TIME_MS", std::to_string(run.news.at_unix_ms));
  add("GPUWARD_COUNTED", std::to_string(run.counted));
  if (service.log_lines != 0) add("GPUWARD_LOG", last_lines(name, service.log_lines));
  return list;
}

std::string Hooks::last_lines(const std::string& name, std::uint32_t lines) const {
  const std::string path = home_.log + "/" + name + ".log";
  auto file = os::Fd::open_regular_at(os::Fd(), path.c_str(), O_RDONLY | O_NOFOLLOW);
  if (!file) return {};
  std::string text(kMostLogBytes, '\0');
  const off_t size = ::lseek(file->get(), 0, SEEK_END);
  const off_t from = std::max<off_t>(0, size - static_cast<off_t>(text.size()));
  const ssize_t n = ::pread(file->get(), text.data(), text.size(), from);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  auto begin = text.size();
  for (std::uint32_t line = 0; line <= lines && begin != 0; ++line) {
    const auto feed = text.rfind('\n', begin - 1);
    begin = feed == std::string::npos ? 0 : feed;
    if (line == lines && begin != 0) ++begin;
  }
  return text.substr(begin);
}

}  // namespace gpuward::warden
