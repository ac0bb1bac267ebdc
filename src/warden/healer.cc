#include "warden/healer.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "control/books.h"
#include "os/clock.h"

namespace gpuward::warden {
namespace {

// What a policy may answer with a restart, or has to say why not. The others are a person's.
bool calls_for_restart(const Decision& decision) {
  if (!is_sick(decision.verdict) || decision.verdict == Verdict::failed ||
      decision.verdict == Verdict::unkillable)
    return false;
  return decision.action == Action::restart || decision.action == Action::keep_running ||
         decision.action == Action::mend_gpu;
}

}  // namespace

void Healer::open() {
  if (const auto boot = os::boot_id()) boot_ = std::string(boot->view());
  std::string trouble;
  book_ = control::read_or_set_aside<HealBook>(path_, &trouble);
  unread_ = !trouble.empty();
  if (!unread_) return;
  LedgerEntry entry;
  entry.kind = EventKind::set_aside;
  entry.why =
      "which services were restarted lately is not known any more; none is restarted by "
      "itself until this warden has run for a day";
  entry.evidence = trouble;
  clerk_.note({entry});
  std::fprintf(stderr, "gpuwardd: %s: %s\n", entry.why.c_str(), trouble.c_str());
  // Nobody knows how much of the budgets is spent: all of it, as far as that can hurt.
  HealRecord all;
  all.restarts.assign(kMostHealBudget, {time(), true, "unknown"});
  book_.services = {all};
  // One that could not be read this time, and may be sound, is left to the next warden as it is.
  if (::access(path_.c_str(), F_OK) < 0) (void)keep();
}

HealTime Healer::time() const {
  return {os::unix_ms_now(), os::now().time_since_epoch().count(), boot_};
}

// The record without a name is of a book that was lost: it stands for every service.
HealRecord& Healer::record_of(const std::string& service) {
  auto at = std::ranges::find(book_.services, service, &HealRecord::service);
  if (at != book_.services.end()) return *at;
  HealRecord fresh;
  const auto lost = std::ranges::find(book_.services, std::string(), &HealRecord::service);
  if (lost != book_.services.end()) fresh.restarts = lost->restarts;
  fresh.service = service;
  return book_.services.emplace_back(std::move(fresh));
}

bool Healer::keep() {
  const HealTime now = time();
  HealBook next = book_;
  std::erase_if(next.services, [&](const HealRecord& record) {
    return !record.gave_up && in_window(record, true, now) + in_window(record, false, now) == 0;
  });
  if (next.services.size() > kMostRecords) return false;
  auto written = unread_ ? control::keep_unread(path_) : Result<void>{};
  unread_ = unread_ && !written;
  if (written) written = control::write_book(path_, next);
  if (!written) {
    std::fprintf(stderr, "gpuwardd: what is restarted cannot be kept: %s\n",
                 written.error().message().c_str());
    return false;
  }
  book_ = std::move(next);
  return true;
}

// Does the driver itself say that a process of it works?
bool Healer::is_busy(const Fleet::Member& member) const {
  const auto& gpu = fleet_.gpu();
  if (!gpu.pids_are_ours) return false;
  return std::ranges::any_of(gpu.devices, [&](const GpuDevice& device) {
    return std::ranges::any_of(device.processes, [&](const GpuProcess& row) {
      return member.pids.contains(row.pid) && row.sm_percent.maybe().value_or(0) != 0;
    });
  });
}

HealFacts Healer::facts_of(const Fleet::Member& member, const Decision& decision,
                           const std::string& evidence) const {
  HealFacts facts;
  facts.sick = calls_for_restart(decision);
  facts.verdict = std::string(to_string(decision.verdict));
  facts.evidence = evidence;
  facts.witnesses = decision.witnesses;
  facts.running = member.alive && member.heard && member.state.phase == Phase::ready &&
                  !member.state.stop_asked && !member.told_to_stop;
  if (!facts.sick) return facts;
  facts.progress = is_busy(member);
  facts.restarts_blocked =
      decision.action == Action::keep_running || !restarts_blocked(fleet_.gpu()).empty();
  facts.unkillable = member.state.phase == Phase::unkillable;
  facts.card_out_of_use = decision.action == Action::mend_gpu || cards_.out_of_use(member.cards);
  const auto record = control::read_record(member.folder);
  facts.ever_restored = !record || record->ever_restored;
  return facts;
}

void Healer::consider(const std::string& service, const Decision& decision,
                      const std::string& evidence) {
  const auto* member = fleet_.find_member(service);
  if (member == nullptr || !member->model) return;
  const bool sick = calls_for_restart(decision);
  const bool known =
      patients_.contains(service) ||
      std::ranges::find(book_.services, service, &HealRecord::service) != book_.services.end();
  if (!sick && !known) return;
  Patient& patient = patients_[service];
  note_well(service, patient, *member, decision);
  if (patient.intends) return;
  const HealFacts facts = facts_of(*member, decision, evidence);
  const HealRule rule{member->model->heal, member->model->heal_budget};
  const HealBook before = book_;
  HealRecord& record = record_of(service);
  const bool gave_up = record.gave_up;
  const auto decided = step(record, facts, rule, time());
  const bool remembered = decided.step == HealStep::restart ||
                          decided.step == HealStep::would_restart || gave_up != record.gave_up;
  if (remembered && !keep()) {
    book_ = before;  // what cannot be remembered is not done
    return;
  }
  if (decided.step == HealStep::restart)
    return restart(service, patient, facts, describe(decided, facts, rule, service),
                   member->state.generation);
  say(service, patient, decided, facts, rule);
}

void Healer::say(const std::string& service, Patient& patient, const HealDecision& decided,
                 const HealFacts& facts, const HealRule& rule) {
  if (decided.step == HealStep::nothing) return;
  const Instant now = os::now();
  const auto last = patient.said.find(decided.why);
  const bool refused = decided.step == HealStep::refused;
  // Under `observe` nothing is refused: what keeps it from being said again says nothing.
  if (refused && rule.mode == HealMode::observe) return;
  if (refused && last != patient.said.end() && now - last->second < kSayAgain) return;
  patient.said[decided.why] = now;
  LedgerEntry entry;
  entry.kind = refused ? EventKind::heal_refused : EventKind::would_restart;
  entry.service = service;
  entry.why = describe(decided, facts, rule, service);
  entry.evidence = facts.evidence;
  clerk_.note({std::move(entry)});
}

// The intent is on record first; what has changed meanwhile is looked at again.
void Healer::restart(const std::string& service, Patient& patient, const HealFacts& facts,
                     const std::string& why, std::uint32_t generation) {
  patient.intends = true;
  patient.generation = generation;
  patient.began = os::now();
  LedgerEntry entry;
  entry.kind = EventKind::healing;
  entry.service = service;
  entry.generation = generation;
  entry.why = why;
  entry.evidence = facts.evidence;
  clerk_.note_before({std::move(entry)}, [this, service, generation](std::uint64_t number) {
    Patient& same = patients_[service];
    same.intends = false;
    same.intent = number;
    const auto* member = fleet_.find_member(service);
    const bool stands =
        member != nullptr && member->alive && member->state.generation == generation &&
        member->state.phase == Phase::ready && !member->state.stop_asked && !member->told_to_stop;
    auto restarted = stands ? fleet_.restart(service) : Result<void>{};
    same.awaited = stands && restarted;
    if (same.awaited) return;
    LedgerEntry outcome;
    outcome.kind = EventKind::order_done;
    outcome.service = service;
    outcome.of = number;
    outcome.outcome = stands ? restarted.error().message() : "not restarted: it has changed since";
    clerk_.note({std::move(outcome)});
  });
}

void Healer::note_well(const std::string& service, Patient& patient, const Fleet::Member& member,
                       const Decision& decision) {
  if (!patient.awaited || member.state.generation == patient.generation) return;
  const bool well = decision.verdict == Verdict::healthy;
  if (!well && decision.verdict != Verdict::failed && decision.verdict != Verdict::backing_off &&
      decision.verdict != Verdict::stopped)
    return;
  patient.awaited = false;
  LedgerEntry entry;
  entry.kind = EventKind::order_done;
  entry.service = service;
  entry.generation = member.state.generation;
  entry.of = patient.intent;
  entry.outcome = std::string(to_string(decision.verdict)) + " " +
                  to_string(os::now() - patient.began) + " after it was decided";
  clerk_.note({std::move(entry)});
}

void Healer::started_by_hand(const std::string& service) {
  const auto at = std::ranges::find(book_.services, service, &HealRecord::service);
  if (at == book_.services.end()) return;
  gpuward::started_by_hand(*at);
  patients_[service].said.clear();
  (void)keep();
}

}  // namespace gpuward::warden
