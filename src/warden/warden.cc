#include "warden/warden.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <utility>

#include "config/problem.h"
#include "domain/exit_code.h"
#include "os/clock.h"
#include "os/socket.h"

namespace gpuward::warden {
namespace {

// While memory is awaited the cards are looked at this often.
constexpr auto kLookAgain = std::chrono::milliseconds(50);
constexpr auto kAcceptAgain = std::chrono::milliseconds(100);
// Beyond what the services need themselves: the ladder, the proof of memory, one look at the clock.
constexpr auto kStopSlack = std::chrono::seconds(20);

// What is about to be told when the warden ends still has this long.
constexpr auto kLastHooks = std::chrono::milliseconds(2000);

}  // namespace

Warden::Warden(control::Home home)
    : home_(home),
      clerk_(loop_),
      fleet_(loop_, std::move(home), clerk_),
      kernel_log_(loop_, fleet_, clerk_, home_.state),
      canaries_(loop_, fleet_, clerk_),
      doors_(loop_, home_, fleet_),
      health_(fleet_, clerk_),
      cards_(home_.cards(), clerk_),
      healer_(home_.heal(), fleet_, cards_, clerk_),
      hooks_(loop_, home_, clerk_),
      holders_(fleet_, clerk_),
      sentinel_(loop_),
      acceptor_(loop_),
      accept_again_(loop_),
      watchdog_(loop_),
      signals_(loop_) {
  meet_manager();
}

// What stands still on purpose is not asked.
bool Warden::may_ask(const std::string& service) const {
  const auto* decision = health_.decision(service);
  return decision == nullptr ||
         (decision->verdict != Verdict::paused && decision->verdict != Verdict::parked);
}

std::optional<std::string> Warden::begin(const std::vector<std::string>& files) {
  began_ = os::now();
  if (auto ready = control::prepare_home(home_); !ready) return ready.error().message();
  auto lock = os::Fd::open(home_.run + "/warden.lock", O_RDWR | O_CREAT, 0600);
  if (!lock) return lock.error().message();
  if (!os::lock(*lock)) return std::string(control::kWardenRuns);
  lock_ = std::move(*lock);

  files_ = chosen_files(files);
  auto parsed = read_files();
  if (!parsed.problems.empty())
    return config::render(parsed.problems) + "nothing was started; check with: gpuward check" +
           (files.empty() && !files_.empty()
                ? "\nthese are the files of the last `up -c`; `gpuward down` forgets them"
                : "");
  if (!files.empty()) remember_files();
  clerk_.open(home_.state, parsed.ledger);
  clerk_.note(EventKind::warden_began, "", "version " GPUWARD_VERSION);
  kernel_log_path_ = parsed.host.kernel_log;
  clerk_.on_entry([this](const LedgerEntry& entry) { hooks_.on_entry(entry); });
  hooks_.configure(parsed.services);
  canaries_.configure(parsed.services);
  doors_.configure(parsed.services);
  canaries_.ask_before([this](const std::string& service) { return may_ask(service); });
  cards_.open();
  healer_.open();
  fleet_.on_cards([this](const Fleet::Member& member) {
    cards_.is_on(member.folder.service, member.plan.mark, member.cards);
  });
  fleet_.ask_before_start([this](const Fleet::Member& member) {
    const bool obeys_rules = member.model && member.model->heal == HealMode::act;
    const auto mark = member.model ? process_mark(*member.model) : member.plan.mark;
    return cards_.why_not_started(member.folder.service, mark, obeys_rules);
  });
  fleet_.ask_before_end([this](const Fleet::Member& member) {
    return !member.model || doors_.drained(member.folder.service, member.model->drain, os::now());
  });
  doors_.on_drained([this] { advance_soon(); });
  choose_autostart(parsed.services);
  fleet_.configure(std::move(parsed.services));
  if (auto adopted = fleet_.adopt_all(); !adopted) return adopted.error().message();

  auto run = os::Fd::open(home_.run, O_PATH | O_DIRECTORY);
  if (!run) return run.error().message();
  auto listener = os::listen_unix_at(*run, "control", 64);
  if (!listener) return listener.error().message();
  boost::system::error_code code;
  (void)acceptor_.assign(asio::local::stream_protocol(), listener->get(), code);
  if (code) return "watch the control socket: " + code.message();
  (void)listener->release();
  fleet_.on_change([this] {
    if (fleet_.waits_for_memory()) sentinel_.look_now();
    tell_hooks();
    doors_.look();
    advance_soon();
  });
  return std::nullopt;
}

int Warden::run() {
  accept();
  wait_for_signals();
  sentinel_.start([this](GpuSnapshot snapshot) {
    cards_.see(snapshot, os::now());
    kernel_log_.see_events(snapshot);
    fleet_.set_gpu(std::move(snapshot));
    hear_log();
    holders_.see(os::now());
    canaries_.look();
    health_.look();
    heal();
    tell_hooks();
    doors_.look();  // the gateway may have come back
    if (fleet_.waits_for_memory()) sentinel_.look_in(kLookAgain);
    advance();  // once a second: an anchor may have been silent for too long
  });
  health_.use(canaries_);
  health_.use(kernel_log_.history());
  kernel_log_.on_incident([this](const XidIncident& incident) { see_incident(incident); });
  kernel_log_.read(kernel_log_path_);  // after the adoption: its lines name processes of trees
  for (const auto& name : autostart_)
    clerk_.note(EventKind::autostart, name, "its file says 'autostart'");
  start_in_order(autostart_);  // status says who could not
  tell_manager("READY=1");
  feed_watchdog();
  loop_.run();
  tell_manager("STOPPING=1");
  hooks_.end_all(kLastHooks);
  clerk_.note(EventKind::warden_ended, "", "");
  clerk_.close();
  return exit_code_;
}

void Warden::wait_for_signals() {
  boost::system::error_code ignored;
  for (const int number : {SIGTERM, SIGINT, SIGCHLD}) (void)signals_.add(number, ignored);
  signals_.async_wait([this](const boost::system::error_code& code, int number) {
    if (code) return;
    if (number != SIGCHLD) {
      loop_.stop();  // the services live on: their anchors lead them
      return;
    }
    reap_children();
    wait_for_signals();
  });
}

// Anchors are our children only by birth; what they were is told over their sockets. A hook is
// reaped by whoever may still have to end its group.
void Warden::reap_children() {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0) return;
    if (!hooks_.reap(Pid{info.si_pid})) ::waitpid(info.si_pid, nullptr, WNOHANG);
  }
}

void Warden::heal() {
  health_.for_each([this](const std::string& name, const Decision& decision) {
    healer_.consider(name, decision, is_sick(decision.verdict) ? health_.evidence(name) : "");
  });
}

// Its card first: nothing is restarted onto one that was just taken out of use.
void Warden::see_incident(const XidIncident& incident) {
  health_.judge_again(incident.service);
  const auto uuid = incident.card_is_known ? kernel_log_.uuid_of(incident.line.card, fleet_.gpu())
                                           : kernel_log_.uuid_of_unknown(fleet_.gpu());
  if (incident.judged.consequence == CardConsequence::quarantine && !uuid.empty())
    cards_.quarantine(uuid, finding_of(incident.judged, incident.line.number));
  heal();
  tell_hooks();
}

// What was said while its card could not be marked: before this warden began, or saw any card.
void Warden::hear_log() {
  const GpuSnapshot& gpu = fleet_.gpu();
  const XidHistory& history = kernel_log_.history();
  for (const auto& device : gpu.devices)
    if (const auto address = kernel_log_.address_of(device, gpu))
      cards_.hear(device.uuid, history.of_card(*address));
  if (history.of_unknown_card().empty()) return;
  if (const auto uuid = kernel_log_.uuid_of_unknown(gpu); !uuid.empty())
    cards_.hear(uuid, history.of_unknown_card());
}

void Warden::tell_hooks() {
  for (const auto& name : hooks_.names()) {
    const auto* member = fleet_.find(name);
    if (member == nullptr) continue;
    const bool troubled = !member->alive && !member->trouble.empty();
    const auto* decision = member->alive ? health_.decision(name) : nullptr;
    // Nobody has looked lately: that it is no ghost any more is not known.
    if (member->alive && decision == nullptr && member->state.phase == Phase::ready) continue;
    const Verdict verdict = troubled              ? Verdict::failed
                            : decision != nullptr ? decision->verdict
                                                  : judge(member->state);
    std::string sentence = troubled ? member->trouble : "";
    if (decision != nullptr) sentence = health_.sentence(name);
    if (sentence.empty()) sentence = sentence_on(member->state, verdict, os::now());
    hooks_.on_verdict(name, verdict, sentence);
  }
}

void Warden::accept() {
  acceptor_.async_accept([this](const boost::system::error_code& code,
                                asio::local::stream_protocol::socket socket) {
    if (code == asio::error::operation_aborted) return;
    if (code) return accept_later(code.message());
    boost::system::error_code ignored;
    os::Fd fd = os::Fd::take(socket.release(ignored));
    (void)fd.set_cloexec(true);
    auto peer = os::peer_of(fd);
    const bool welcome = peer && (peer->uid == 0 || peer->uid == ::geteuid());
    auto link = welcome ? Link::take(loop_, std::move(fd), wire::kMaxSmall)
                        : Result<std::shared_ptr<Link>>(fail(Errc::refused, "serve another user"));
    if (link) {
      std::weak_ptr<Link> weak = *link;
      (*link)->start(
          [this, weak, who = *peer](const wire::Body& body) {
            if (auto client = weak.lock()) serve(client, body, who);
          },
          [this, weak] {
            // Whoever asked has left: what it asked for goes on, only nobody is told.
            auto client = weak.lock();
            for (auto& pending : pending_)
              if (pending.client == client) pending.client.reset();
          });
    }
    accept();
  });
}

// Out of descriptors or memory: whoever connects waits until there are some again.
void Warden::accept_later(const std::string& why) {
  std::fprintf(stderr, "gpuwardd: a connection could not be accepted: %s\n", why.c_str());
  accept_again_.expires_after(kAcceptAgain);
  accept_again_.async_wait([this](const boost::system::error_code& code) {
    if (!code) accept();
  });
}

WardenReport Warden::own_report() const {
  const auto up = std::chrono::duration_cast<std::chrono::seconds>(os::now() - began_);
  return {Pid{::getpid()}, GPUWARD_VERSION, static_cast<std::uint64_t>(up.count()),
          clerk_.trouble()};
}

// What the fleet does not know.
void Warden::complete(StatusReport& report) const {
  report.warden = own_report();
  report.kernel_log = kernel_log_.report();
  report.incidents = kernel_log_.incidents(report.gpu);
  report.cards = cards_.marks();
  for (const auto& device : report.gpu.devices)
    if (const auto address = kernel_log_.address_of(device, report.gpu))
      add_standing(report.cards, device, kernel_log_.history().standing(*address));
  health_.complete(report);
  canaries_.complete(report);
  doors_.complete(report);
}

void Warden::serve(const std::shared_ptr<Link>& client, const wire::Body& body,
                   const os::Peer& who) {
  auto request = wire::decode<WardenRequest>(body);
  if (!request) return client->close();
  if (auto found = fleet_.find_newcomers(); !found)
    std::fprintf(stderr, "gpuwardd: %s, ignoring\n", found.error().message().c_str());
  using What = WardenRequest::What;
  if (request->what == What::plan) return reply(client, reconfigure(true));
  if (request->what == What::drain_plan) return reply(client, answer_drain_plan(request->gpu));
  WardenAnswer answer;
  if (request->what == What::holders) {
    holders_.report(&answer.status.emplace(), os::now());
    complete(*answer.status);
    return reply(client, answer);
  }
  if (request->what != What::status) return order(client, *request, who);
  answer.status = fleet_.report(request->services, request->brief);
  for (const auto& name : request->services) {
    if (fleet_.find(name) != nullptr) continue;
    answer.exit_code = 1;
    answer.outcomes.push_back({name, kFailed, fleet_.unknown(name)});
  }
  complete(*answer.status);
  reply(client, answer);
}

// Whoever asked is not left waiting for an answer that cannot be sent.
void Warden::reply(const std::shared_ptr<Link>& client, const WardenAnswer& answer) {
  auto sent = client->send(answer, wire::kMaxLarge);
  if (sent) return;
  WardenAnswer sorry;
  sorry.exit_code = 1;
  sorry.error = "the warden could not answer: " + sent.error().message();
  if (!client->send(sorry)) client->close();
}

// What the warden starts by itself: nobody waits for it, and its dependants wait as long as it
// takes.
void Warden::start_in_order(std::vector<std::string> names) {
  auto operation = Operation::of_the_warden(std::move(names));
  operation.begin(fleet_);
  if (!operation.done(fleet_, os::now()))
    pending_.push_back({nullptr, std::move(operation), nullptr, {}, {}, {}, {}, {}});
}

// How long @p request takes where nothing hangs: one after the other along the links.
std::chrono::milliseconds Warden::usual_time(const WardenRequest& request,
                                             const std::vector<std::string>& names) const {
  using What = WardenRequest::What;
  const bool stops = request.what == What::stop || request.what == What::down;
  const auto links = fleet_.links();
  return longest_chain(
      links, stops ? names : with_needed(links, names), [&](const std::string& name) {
        const auto at = fleet_.members().find(name);
        if (at == fleet_.members().end()) return std::chrono::milliseconds(0);
        const auto& model = at->second.model;
        const auto& plan = at->second.plan;
        const auto within = model ? model->ready.within : plan.ready.within;
        const auto drain = model && model->door ? model->drain : std::chrono::milliseconds(0);
        const auto grace = (model ? model->grace : plan.grace) + drain;
        return stops ? grace : grace + within;
      });
}

void Warden::begin_operation(const std::shared_ptr<Link>& client, const WardenRequest& request,
                             std::vector<std::uint64_t> orders, std::string card) {
  using What = WardenRequest::What;
  std::vector<std::string> names = request.services;
  if (request.what == What::wait_autostart || request.what == What::start_autostart)
    names = autostart_;
  if (request.what == What::down)
    for (const auto& [name, member] : fleet_.members()) names.push_back(name);
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  const auto given =
      request.has_timeout ? request.timeout : usual_time(request, names) + kStopSlack;
  if (request.what == What::start || request.what == What::restart)
    for (const auto& name : names) healer_.started_by_hand(name);
  Operation operation(request.what, std::move(names), os::now() + given, request.anyway);
  if (request.what == What::stop) operation.only_what_is_left_of(request.left_of);
  operation.begin(fleet_);
  pending_.push_back({client,
                      std::move(operation),
                      std::make_unique<asio::steady_timer>(loop_),
                      request,
                      std::move(orders),
                      std::move(card),
                      {},
                      {}});
  auto& timer = *pending_.back().timer;
  timer.expires_at(pending_.back().operation.deadline());
  timer.async_wait([this](const boost::system::error_code& code) {
    if (!code) advance();
  });
  advance();
}

// Once for all the news of one turn of the loop: a thousand anchors that come up tell of it within
// a second, and each operation asks after each service.
void Warden::advance_soon() {
  if (std::exchange(advances_soon_, true)) return;
  asio::post(loop_, [this] {
    advances_soon_ = false;
    canaries_.look();
    if (health_.news()) sentinel_.look_now();
    heal();
    tell_hooks();
    advance();
  });
}

void Warden::advance() {
  if (advancing_) return advance_soon();  // an operation has just changed something itself
  advancing_ = true;
  fleet_.forget_held_back();
  advance_all();
  advancing_ = false;
}

void Warden::advance_all() {
  for (auto at = pending_.begin(); at != pending_.end();) {
    const bool done = at->operation.done(fleet_, os::now());
    if (at->reload) answer_reload(*at);
    if (!done) {
      ++at;
      continue;
    }
    if (!at->card.empty() && !looked_since_its_end(*at)) {
      ++at;
      continue;
    }
    auto answer = at->operation.answer(fleet_);
    complete(*answer.status);
    if (!at->card.empty()) add_card(answer, at->card);
    // What could not be proven is said; while something lives there has to be somebody to ask.
    const bool down = at->request.what == WardenRequest::What::down;
    const bool leave = down && (answer.exit_code == kDone || !fleet_.anything_lives());
    if (leave) ::unlink(home_.chosen_files().c_str());
    if (leave) close_doors();  // before the answer: who reads it must find no warden any more
    if (!at->orders.empty()) note_outcome(answer, at->request, at->orders);
    if (at->client) reply(at->client, answer);
    at = pending_.erase(at);
    if (leave) {
      leaving_ = true;
      for (const auto& other : pending_) refuse(other.client, other.request, other.orders);
      pending_.clear();
    }
    // The answer leaves in the background.
    if (!leave) continue;
    asio::post(loop_, [this] { loop_.poll(), loop_.stop(); });
    return;
  }
}

void Warden::close_doors() {
  boost::system::error_code ignored;
  (void)acceptor_.close(ignored);
  accept_again_.cancel();
  watchdog_.cancel();
  ::unlink((home_.run + "/control").c_str());
  lock_.close();
  (void)signals_.cancel(ignored);
  kernel_log_.stop();
  canaries_.stop();
  sentinel_.stop();
}

}  // namespace gpuward::warden
