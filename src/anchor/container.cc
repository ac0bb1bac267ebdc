#include "anchor/container.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "os/proc_fs.h"
#include "os/process.h"

namespace gpuward::anchor {
namespace {

constexpr auto kFirstLook = std::chrono::milliseconds(10);
constexpr auto kLongestLook = std::chrono::seconds(1);  // an image may take minutes to come
constexpr std::uint32_t kMostLooks = 60;  // for processes: then they are elsewhere, or gone again
constexpr auto kEnginePatience = std::chrono::milliseconds(1500);
constexpr auto kAfterEngine = std::chrono::milliseconds(300);
constexpr auto kNotice = std::chrono::milliseconds(500);  // to note its end and clean up after it

}  // namespace

void Container::begin(Instant now) {
  if (!held()) return;
  *trace_ = ContainerTrace{};
  group_ = {};
  proof_ = ContainerProof::not_judged;
  asked_ = answered_ = killing_ = false;
  const char* path = plan_->cidfile.c_str();
  if (plan_->cidfile_is_ours) ::unlink(path);
  trace_->awaited = ::access(path, F_OK) < 0 && errno == ENOENT;
  look_soon(now);
}

void Container::resume(Instant now) {
  if (!held()) return;
  (void)learn_id();
  (void)see();
  look_soon(now);
}

void Container::look_soon(Instant now) {
  looks_ = 0;
  look_pause_ = kFirstLook;
  look_ = now + look_pause_;
}

Instant Container::next() const {
  return std::min(look_, engine_.next());
}

bool Container::advance(Instant now) {
  if (!held()) return false;
  if (group_ && !group_.populated()) group_ = {};  // of one that is gone poll would tell for ever
  if (engine_.advance(now)) {
    answered_ = true;
    const bool heard = engine_.answer() == EngineCall::Answer::signalled;
    if (killing_) kill_ourselves_ = heard ? now + kAfterEngine : now;
  }
  return now >= look_ && look(now);
}

// For the id, then for a process that has it: after both there is nothing to look for.
bool Container::look(Instant now) {
  bool news = learn_id();
  if (news) look_pause_ = kFirstLook;
  if (!trace_->id.empty() && !trace_->seen) {
    news |= see();
    ++looks_;
  }
  const bool over = trace_->seen || looks_ >= kMostLooks || !trace_->awaited;
  look_ = over ? Instant::max() : now + look_pause_;
  look_pause_ = std::min<Duration>(look_pause_ * 2, kLongestLook);
  return news;
}

bool Container::learn_id() {
  if (!trace_->awaited || !trace_->id.empty()) return false;
  trace_->id = os::read_container_id(plan_->cidfile.c_str());
  return !trace_->id.empty();
}

// Does a process of it live here?
bool Container::see() {
  if (trace_->id.empty()) return false;
  bool any = false;
  (void)os::for_each_in_container(trace_->id, [&](Pid pid) {
    any = true;
    if (!group_) group_ = os::ContainerGroup::open(*mount_, pid, trace_->id);
  });
  trace_->seen |= any;
  if (group_) trace_->cgroup = Text<512>(group_.path());
  return any;
}

void Container::ask(std::string_view signal, Instant now) {
  asked_ = true;
  answered_ = false;
  engine_.start(trace_->id, signal, now);
}

bool Container::ended(bool killing, bool client_ended_well, Instant now) {
  if (!held()) return true;
  (void)learn_id();
  if (trace_->id.empty()) {
    // It is written before the container starts: without it there is none, unless the client lied.
    proof_ = client_ended_well ? ContainerProof::unnamed : ContainerProof::none;
    return true;
  }
  if (see()) {
    proof_ = ContainerProof::left;
    if (killing && !killing_) kill(now);
    if (!killing && !asked_) ask("SIGTERM", now);  // the client that passes it on is gone
    return false;
  }
  group_ = {};
  if (!trace_->seen && !plan_->only_here) return ended_unseen(killing, now);
  proof_ = ContainerProof::empty;
  return true;
}

// Only the engine can tell. CONT asks it without a new effect, and lets a stopped one hear TERM.
bool Container::ended_unseen(bool killing, Instant now) {
  proof_ = ContainerProof::left;
  if (engine_.busy()) return false;
  if (!asked_ || (killing && !killing_)) {
    killing_ = killing;
    ask(killing ? "SIGKILL" : "SIGTERM", now);
    return false;
  }
  if (!answered_) return false;
  switch (engine_.answer()) {
    case EngineCall::Answer::signalled:
      ask(killing ? "SIGKILL" : "SIGCONT", now);
      return false;
    case EngineCall::Answer::not_running:
      proof_ = ContainerProof::ended;
      return true;
    case EngineCall::Answer::unknown:
      proof_ = plan_->engine_known && engine_.first_answered() ? ContainerProof::ended
                                                               : ContainerProof::unseen;
      return true;
    case EngineCall::Answer::none:
    case EngineCall::Answer::refused:
      break;
  }
  proof_ = ContainerProof::unseen;
  return true;
}

void Container::kill(Instant now) {
  if (!held()) return;
  if (!killing_) others_by_ = now + kEnginePatience + kNotice, gone_ = false;
  killing_ = true;
  (void)learn_id();
  if (trace_->id.empty()) return;
  kill_ourselves_ = now + kEnginePatience;
  ask("SIGKILL", now);
}

// The engine has had its turn: with this it may start the container again, where it was told to
// keep it running.
void Container::kill_pass(Instant now) {
  if (!held() || !killing_ || trace_->id.empty() || now < kill_ourselves_) return;
  if (!see()) return;
  if (group_) (void)group_.kill();
  (void)os::for_each_in_container(trace_->id, [&](Pid pid) {
    auto process = os::Process::open(pid);
    if (process && os::in_container(pid, trace_->id)) (void)process->signal(SIGKILL);
  });
}

bool Container::comes_first(Instant now) {
  if (!held() || !killing_ || trace_->id.empty() || now >= others_by_) return false;
  if (gone_ || see()) return true;
  gone_ = true;
  others_by_ = std::min<Instant>(others_by_, now + kNotice);
  return true;
}

std::uint32_t Container::count_beside(const Tree& tree) const {
  std::uint32_t members = 0;
  if (held() && !trace_->id.empty())
    (void)os::for_each_in_container(trace_->id,
                                    [&](Pid pid) { members += tree.contains(pid) ? 0 : 1; });
  return members;
}

void Container::name_survivors(InlineVec<Survivor, 16>* survivors) const {
  if (!held() || trace_->id.empty()) return;
  (void)os::for_each_in_container(trace_->id, [&](Pid pid) {
    auto* known = std::find_if(survivors->begin(), survivors->end(),
                               [&](const Survivor& other) { return other.pid == pid; });
    if (known != survivors->end()) {
      known->in_container = true;
      return;
    }
    Survivor survivor;
    survivor.pid = pid;
    survivor.in_container = true;
    if (auto stat = os::read_stat(pid)) {
      survivor.name = stat->name;
      survivor.state = static_cast<std::uint8_t>(stat->state);
    }
    survivor.wchan = os::read_wchan(pid);
    survivors->push_back(survivor);
  });
}

void Container::forget() {
  if (!held()) return;
  const char* path = plan_->cidfile.c_str();
  if (!trace_->id.empty() && os::read_container_id(path) == trace_->id) ::unlink(path);
  *trace_ = ContainerTrace{};
  look_ = Instant::max();
}

}  // namespace gpuward::anchor
