// How an anchor comes to its tree: a new one by prepare(), that of a dead anchor by adopt().

#include <poll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>

#include "anchor/anchor.h"
#include "control/actor.h"
#include "control/anchors.h"
#include "os/private_folder.h"
#include "os/socket.h"

namespace gpuward::anchor {
namespace {

// @p prefix and 32 hexadecimal digits that nobody can guess.
std::optional<std::string> random_name(std::string_view prefix) {
  std::array<unsigned char, 16> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != std::ssize(bytes)) return std::nullopt;
  std::string name(prefix);
  for (const auto byte : bytes) {
    name += "0123456789abcdef"[byte >> 4];
    name += "0123456789abcdef"[byte & 15];
  }
  return name;
}

std::optional<int> resource_of(LimitKind kind) {
  switch (kind) {
    case LimitKind::core:
      return RLIMIT_CORE;
    case LimitKind::nofile:
      return RLIMIT_NOFILE;
    case LimitKind::nproc:
      return RLIMIT_NPROC;
    case LimitKind::memlock:
      return RLIMIT_MEMLOCK;
    case LimitKind::stack:
      return RLIMIT_STACK;
    case LimitKind::as:
      return RLIMIT_AS;
    case LimitKind::fsize:
      return RLIMIT_FSIZE;
    case LimitKind::data:
      return RLIMIT_DATA;
    case LimitKind::cpu:
      return RLIMIT_CPU;
  }
  return std::nullopt;
}

Result<os::Fd> watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&set, number);
  if (::sigprocmask(SIG_SETMASK, &set, nullptr) < 0) return fail(last_error("block signals"));
  ::signal(SIGPIPE, SIG_IGN);
  os::Fd fd = os::Fd::take(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail(last_error("make a signalfd"));
  return fd;
}

// The id may have been written after its anchor had died. Does a process of the container live?
bool recover_container(const ContainerPlan& plan, ContainerTrace& trace) {
  if (trace.awaited && trace.id.empty()) trace.id = os::read_container_id(plan.cidfile.c_str());
  return os::container_lives(trace.id);
}

// The living tree that a dead anchor left. @p contained: its container lives, if nothing else.
// @p looked: perhaps of its marks.
Result<Tree> recover(const AnchorState& last, std::vector<ProcessId> members, bool releases,
                     bool contained, const control::MarkedTree& looked) {
  if (last.main) members.push_back(last.main);  // it may have left the cgroup
  const auto found = unpack(looked.members);
  const auto* marked = looked.anchor && looked.anchor == last.anchor ? &found : nullptr;
  auto space = os::PidNamespace::open(last.init);
  const auto with_space = [&](Tree tree) {
    if (space) tree.hold(std::move(*space));
    return tree;
  };
  if (last.cgroup.empty()) {
    Tree tree = with_space(Tree::taken_over({}, members, last.tree_variable,
                                            HandedOver::taken_over(last, releases), marked));
    if (!contained && tree.empty(true))
      return fail(Errc::not_found, "adopt a tree of which nothing lives");
    return tree;
  }
  auto group = os::Cgroup::open(static_cast<os::CgroupKind>(last.cgroup_kind),
                                std::string(last.cgroup.view()));
  if (!group && group.error().code.value() != ENOENT) return fail(std::move(group).error());
  if (!group) group = os::Cgroup();  // somebody removed it, which the kernel allows for empty ones
  Tree tree = with_space(Tree::taken_over(std::move(*group), members, last.tree_variable,
                                          HandedOver::taken_over(last, releases), marked));
  if (!contained && tree.empty(true))
    return fail(Errc::not_found, "adopt a tree of which nothing lives");
  return tree;
}

// The lock tells who leads, unless somebody removed its file.
Result<void> refuse_if_led(const AnchorState& last) {
  const Instant give_up = os::now() + os::kDyingOwner;  // it may just be dying, without its lock
  while (os::lives(last.anchor) && os::now() < give_up) ::poll(nullptr, 0, 2);
  if (!os::lives(last.anchor)) return {};
  Error error(Errc::taken, "start: its anchor lives, pid ");
  error.doing.append_number(last.anchor.pid.number);
  return fail(error);
}

// A tree of an earlier anchor may still live here. Starting beside it would be a second copy.
// @return whether something of it may live on, that nobody finds and that is no second copy.
Result<bool> refuse_if_populated(const os::Fd& dir, std::string_view boot_id,
                                 const control::MarkedTree& looked) {
  auto record = control::read_record(dir);
  if (!record && record.error().code.value() != ENOENT) return fail(std::move(record).error());
  if (!record || record->boot_id.view() != boot_id) return false;
  GPUWARD_TRY(refuse_if_led(record->state));
  AnchorState& last = record->state;
  const bool doubt = may_live_on(last, record->plan);
  const std::string& cidfile = record->plan.container.cidfile;
  const bool contained = recover_container(record->plan.container, last.container);
  // What was handed over carries the mark of its tree, and so does what it has started since.
  if (is_over(last.phase) && last.has_released) last.tree_variable.clear();
  const auto tree =
      recover(last, unpack(record->members), !record->plan.release.empty(), contained, looked);
  if (!tree) {
    // The engine refuses to write over it.
    const auto& id = last.container.id;
    if (!id.empty() && os::read_container_id(cidfile.c_str()) == id) ::unlink(cidfile.c_str());
    return doubt;
  }
  InlineVec<Survivor, 16> living;
  tree->name_survivors(&living);
  Error error(Errc::refused, "start: of the last generation there still live");
  for (const auto& process : living)
    error.doing.append(" ")
        .append_number(process.pid.number)
        .append(" (")
        .append(process.name)
        .append(")");
  if (contained) error.doing.append(" container ").append(short_id(last.container.id));
  return fail(error);
}

Error cannot_be_had(ContainmentWish wish, std::string_view why) {
  Error error(Errc::refused, "start: containment = \"");
  error.doing.append(to_string(wish)).append("\" cannot be had here: ").append(why);
  return error;
}

// Is a PID namespace to be had? Said before anything is started, by making one.
Result<void> try_pid_namespace() {
  auto space = os::PidNamespace::make(true);
  if (!space) return fail(cannot_be_had(ContainmentWish::pidns, space.error().message()));
  space->kill();
  ::waitpid(space->first().pid().number, nullptr, 0);
  return {};
}

// A cgroup where one can be had; why not is said in the state.
Result<Tree> enter_group(const LaunchPlan& plan, AnchorState* state) {
  if (plan.containment == ContainmentWish::subreaper) {
    state->why_no_cgroup = "'containment' wants none";
    return Tree::fresh({});
  }
  const auto place = os::find_cgroup_place();
  if (place.kind == os::CgroupKind::none) {
    state->why_no_cgroup = Text<200>(place.reason);
    return Tree::fresh({});
  }
  auto group = os::Cgroup::create(place.kind, place.parent, plan.cgroup_name);
  if (!group) {
    if (group.error().code.value() == EBUSY) return fail(std::move(group).error());
    state->why_no_cgroup = Text<200>(group.error().message());
    return Tree::fresh({});
  }
  state->level = Containment::cgroup;
  state->cgroup_kind = static_cast<std::uint8_t>(place.kind);
  state->cgroup = Text<512>(group->path());
  return Tree::fresh(std::move(*group));
}

// The strongest hold there is, or the one that is wished for.
Result<Tree> contain(const LaunchPlan& plan, AnchorState* state) {
  if (plan.containment == ContainmentWish::pidns) GPUWARD_TRY(try_pid_namespace());
  auto tree = enter_group(plan, state);
  if (!tree) return tree;
  if (plan.containment == ContainmentWish::cgroup && !tree->cgroup())
    return fail(cannot_be_had(plan.containment, state->why_no_cgroup));
  if (plan.containment == ContainmentWish::pidns) state->level = Containment::pidns;
  return tree;
}

}  // namespace

Result<Anchor> Anchor::prepare_common(LaunchPlan plan, os::Fd dir, os::Fd lock, os::Fd launcher,
                                      const AnchorState* last) {
  Anchor anchor;
  anchor.plan_ = std::move(plan);
  anchor.dir_ = std::move(dir);
  anchor.lock_ = std::move(lock);
  const LaunchPlan& p = anchor.plan_;
  std::uint32_t jitter = 0;
  (void)::getrandom(&jitter, sizeof jitter, GRND_NONBLOCK);  // without it: none
  anchor.policy_ = {p.ready.within, p.grace, p.restart, p.backoff, jitter};
  auto boot = os::boot_id();
  if (!boot) return fail(std::move(boot).error());
  anchor.boot_id_ = *boot;
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) return fail(last_error("become a subreaper"));
  auto signals = watch_signals();
  if (!signals) return fail(std::move(signals).error());
  anchor.signals_ = std::move(*signals);
  auto self = os::Process::open(Pid{::getpid()});
  if (!self) return fail(std::move(self).error());
  anchor.state_.anchor = self->id();
  anchor.journal_ = Journal(self->id(), *boot);
  if (p.container.hold == ContainerHold::by_id)
    anchor.cgroup2_mount_ = os::ContainerGroup::find_mount();
  for (const auto& word : p.command) anchor.argv_.push_back(word.c_str());
  anchor.argv_.push_back(nullptr);
  for (const auto& variable : p.env)
    anchor.env_text_.push_back(variable.name + "=" + variable.value);
  const bool notifies = p.ready.kind == ReadyKind::notify || p.live.kind == LiveKind::notify;
  if (last == nullptr) {
    auto variable = random_name(kTreeVariable);
    auto notify_name = random_name("@gpuward/");
    if (!variable || !notify_name) return fail(last_error("make a random name"));
    anchor.state_.tree_variable = Text<48>(*variable);
    if (notifies) anchor.state_.notify_name = Text<64>(*notify_name);
  } else {
    anchor.state_.tree_variable = last->tree_variable;
    anchor.state_.notify_name = last->notify_name;
  }
  anchor.env_text_.emplace_back(anchor.state_.tree_variable.view());
  if (notifies) {
    auto notify = NotifySocket::open(anchor.state_.notify_name);
    // A tree that lives is not left alone because somebody sits on its name: it is only not heard.
    if (!notify && last == nullptr) return fail(std::move(notify).error());
    if (notify) anchor.notify_ = std::move(*notify);
    anchor.env_text_.push_back("NOTIFY_SOCKET=" + std::string(anchor.state_.notify_name.view()));
  }
  if (p.live.kind == LiveKind::notify)
    anchor.env_text_.push_back("WATCHDOG_USEC=" +
                               std::to_string(std::chrono::microseconds(p.live.every).count()));
  anchor.sockets_ = KeptSockets::prepare(p.sockets, p.files);
  if (!anchor.sockets_.empty()) {
    anchor.env_text_.push_back("LISTEN_FDS=" + std::to_string(anchor.sockets_.count()));
    anchor.env_text_.push_back("LISTEN_FDNAMES=" + anchor.sockets_.names());
    // Last, and with room: each main writes its own pid there.
    anchor.env_text_.push_back(std::string(kListenPid) + std::string(12, '\0'));
  }
  for (const auto& text : anchor.env_text_) anchor.envp_.push_back(text.c_str());
  anchor.envp_.push_back(nullptr);
  anchor.settle_rights();
  if (!p.temp_folder.empty()) anchor.sweep_ = std::make_unique<os::FolderSweep>();
  if (auto peer = os::peer_of(launcher)) anchor.launched_by_ = control::actor_of(*peer);
  anchor.clients_.add(std::move(launcher), true);
  return anchor;
}

// Numbers for the child; their lists stay where they are when this anchor moves.
void Anchor::settle_rights() {
  const LaunchRights& plan = plan_.rights;
  for (const auto& limit : plan.limits)
    if (const auto resource = resource_of(limit.kind)) limits_.push_back({*resource, limit.value});
  rights_.change_user = plan.uid.has_value();
  rights_.uid = plan.uid.value_or(0);
  rights_.gid = plan.gid;
  rights_.groups = plan.groups;
  rights_.umask = plan.umask ? static_cast<int>(*plan.umask) : -1;
  rights_.limits = limits_;
  rights_.limit_capabilities = plan.capabilities.has_value();
  rights_.capabilities = plan.capabilities.value_or(0);
  rights_.no_new_privileges = plan.no_new_privileges;
  rights_.set_oom_score_adj = plan.oom_score_adj.has_value();
  rights_.oom_score_adj = plan.oom_score_adj.value_or(0);
  rights_.set_nice = plan.nice.has_value();
  rights_.nice = plan.nice.value_or(0);
}

Result<void> Anchor::open_doors() {
  auto log = LogPump::open(dir_, plan_.log_file, plan_.log);
  if (!log) return fail(std::move(log).error());
  log_ = std::move(*log);
  // So that a service of another user can open /dev/stdout again.
  if (rights_.change_user)
    for (const int end : {log_.service_out(), log_.service_err()})
      if (::fchown(end, rights_.uid, static_cast<gid_t>(-1)) < 0)
        return fail(last_error("give its output to the service's user"));
  auto listener = os::listen_unix_at(dir_, "control");
  if (!listener) return fail(std::move(listener).error());
  listener_ = std::move(*listener);
  return {};
}

// What a new tree needs beside its processes.
Result<void> Anchor::make_surroundings() {
  auto limits = Limits::fresh(plan_.limits, tree_.cgroup(), plan_.cgroup_name, &state_.limits);
  if (!limits) return fail(std::move(limits).error());
  limits_of_tree_ = std::move(*limits);
  if (!plan_.temp_folder.empty()) {
    const uid_t user = rights_.change_user ? rights_.uid : ::geteuid();
    const gid_t group = rights_.change_user ? rights_.gid : ::getegid();
    auto folder = os::make_private_folder(plan_.temp_folder, user, group);
    if (!folder) return fail(std::move(folder).error());
  }
  return open_doors();
}

Result<Anchor> Anchor::prepare(LaunchOrder order, os::Fd dir, os::Fd lock, os::Fd launcher) {
  auto anchor = prepare_common(std::move(order.plan), std::move(dir), std::move(lock),
                               std::move(launcher), nullptr);
  if (!anchor) return anchor;
  const auto left =
      refuse_if_populated(anchor->dir_, anchor->boot_id_, {order.looked_after, order.marked});
  if (!left) return fail(left.error());
  auto tree = contain(anchor->plan_, &anchor->state_);
  if (!tree) return fail(std::move(tree).error());
  anchor->tree_ = std::move(*tree);
  if (!anchor->plan_.release.empty()) anchor->tree_.prepare_to_hand_over();
  anchor->tree_.handed_over().note(&anchor->state_);
  auto ready = anchor->make_surroundings();
  if (ready && (*left || starts_containers(anchor->plan_))) ready = anchor->keep_temp_folder();
  if (!ready) {
    anchor->limits_of_tree_.remove();
    anchor->tree_.remove();
    return fail(std::move(ready).error());
  }
  return anchor;
}

Result<Anchor> Anchor::adopt(const LaunchOrder& order, os::Fd dir, os::Fd lock, os::Fd launcher) {
  auto record = control::read_record(dir);
  if (!record) return fail(std::move(record).error());
  AnchorState last = record->state;
  const bool restored = record->ever_restored;
  auto anchor = prepare_common(std::move(record->plan), std::move(dir), std::move(lock),
                               std::move(launcher), &last);
  if (!anchor) return anchor;
  if (anchor->boot_id_ != record->boot_id)
    return fail(Errc::refused, "adopt a tree from before a reboot");
  GPUWARD_TRY(refuse_if_led(last));
  const bool contained = recover_container(anchor->plan_.container, last.container);
  const bool releases = !anchor->plan_.release.empty();
  // See refuse_if_populated().
  const Text<48> mark = last.tree_variable;
  if (is_over(last.phase) && last.has_released) last.tree_variable.clear();
  auto tree = recover(last, unpack(record->members), releases, contained,
                      {order.looked_after, order.marked});
  if (!tree) return fail(std::move(tree).error());
  last.tree_variable = mark;
  // Its owner may have died in the middle of a stop.
  if (tree->cgroup()) (void)tree->cgroup().freeze(false);
  const ProcessId self = anchor->state_.anchor;
  anchor->state_ = last;
  anchor->state_.anchor = self;
  anchor->state_.wakeups = 0;
  // A namespace loses nobody.
  anchor->state_.doubt |=
      (last.cgroup.empty() || tree->has_strays()) && last.level != Containment::pidns;
  anchor->ever_restored_ = restored;
  anchor->tree_ = std::move(*tree);
  anchor->limits_of_tree_ = Limits::taken_over(last.limits);
  anchor->adopted_ = true;
  anchor->lost_before_ = last.lost_log_bytes;
  anchor->life_.generation = last.generation;
  anchor->life_.failures = last.failures;
  anchor->life_.ever_ready = last.phase != Phase::starting || last.failures != 0;
  anchor->last_main_ = last.main.pid;
  if (auto main = os::Process::open(last.main)) {
    anchor->main_ = std::move(*main);
    anchor->sockets_.take_from(anchor->main_);
  }
  GPUWARD_TRY(anchor->open_doors());
  // Its tree lives and has to be led, whether this can be noted or not.
  if (anchor->state_.doubt)
    if (auto kept = anchor->keep_temp_folder(); !kept)
      anchor->note_failure("that its temp folder is kept could not be noted", kept.error());
  return anchor;
}

// An adopted tree goes on as it was: still to be proven ready, or ready. A stop or restart that was
// under way when its anchor died goes on, with its whole grace again; a main that is gone means
// that the tree ends, whatever is left of it.
void Anchor::resume() {
  const bool was_over = is_over(state_.phase);  // then what lives on was to be gone
  const bool told = plan_.ready.kind == ReadyKind::started || plan_.ready.kind == ReadyKind::notify;
  if (state_.phase == Phase::starting && !told) {
    life_.state = life::Starting{os::now() + plan_.ready.within};
    probe_.start(os::now());
  } else {
    // Whether READY=1 was said while nobody listened cannot be known: that is no reason to end it.
    if (state_.phase == Phase::starting && plan_.ready.kind == ReadyKind::notify)
      state_.ready_evidence = "taken over while starting; it may have said READY=1";
    life_.state = life::Ready{os::now()};
    watch_.resume(os::now());
  }
  state_.phase = phase_of(life_);
  log_.note("a new anchor took the tree over");
  const bool stop = state_.stop_asked || was_over;
  const bool restart = state_.restart_asked;
  // It was to die with its anchor, and nobody was there to see to that.
  if (plan_.on_anchor_death == OnAnchorDeath::kill && !stop) {
    life_.state = life::Ready{os::now()};
    const auto grace = std::exchange(policy_.grace, std::chrono::milliseconds(0));
    happen(life::LivenessLost{"its anchor died"});
    policy_.grace = grace;
  }
  // Its first anchor may have seen how main ended.
  const ExitStatus end = state_.has_exit ? state_.last_exit : ExitStatus{.unknown = true};
  if (stop) happen(life::StopAsked{plan_.grace});
  if (restart) happen(life::RestartAsked{plan_.grace});
  if (!main_) return happen(life::MainEnded{end});
  publish();
}

}  // namespace gpuward::anchor
