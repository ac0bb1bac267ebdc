#include "warden/health.h"

#include <algorithm>
#include <utility>

#include "os/listeners.h"
#include "os/process.h"
#include "warden/canaries.h"
#include "warden/observation.h"

namespace gpuward::warden {
namespace {

constexpr std::uint32_t kCloserEvery = 5;  // looks
constexpr std::size_t kLongestEvidence = 500;

bool tells_of_cuda(LogAlarm alarm) {
  return alarm == LogAlarm::cuda_error || alarm == LogAlarm::device_assert;
}

// Something speaks against it: what would be too dear for each second is looked at.
bool is_doubtful(const ServiceFacts& facts, bool waits) {
  if (facts.phase != Phase::ready || !facts.context.ever) return false;
  const bool silent = facts.canary && facts.canary->silent_in_a_row != 0;
  return facts.context.listed == 0 || tells_of_cuda(facts.alarm.kind) || waits || silent;
}

bool is_told(Verdict verdict) {
  return is_sick(verdict) && verdict != Verdict::failed && verdict != Verdict::unkillable;
}

std::string join(const std::vector<Evidence>& evidence) {
  std::string text;
  for (const auto& fact : evidence) {
    const std::string item = fact.what + ": " + fact.value;
    if (text.size() + item.size() > kLongestEvidence) break;
    text += (text.empty() ? "" : "; ") + item;
  }
  return text;
}

std::map<std::uint16_t, std::uint32_t> waiting_by_port() {
  std::map<std::uint16_t, std::uint32_t> waiting;
  const auto listed = os::for_each_waiting(
      [&](std::uint16_t port, std::uint32_t connections) { waiting[port] += connections; });
  if (!listed) waiting.clear();
  return waiting;
}

}  // namespace

Health::Patient& Health::patient_of(const std::string& name, const Fleet::Member& member,
                                    Instant now) {
  Patient& patient = patients_[name];
  const AnchorState& state = member.state;
  if (!patient.known || patient.generation != state.generation) {
    const bool first = !std::exchange(patient.known, true);
    patient.generation = state.generation;
    patient.contexts = ContextHistory();
    patient.facts = ServiceFacts();
    patient.judged_alarm = LogAlarm::none;
    patient.judged_alarm_ns = 0;
    // What its log told before anybody was there to see it: older anchors do not know when.
    if (first && state.alarm != LogAlarm::none) {
      patient.facts.alarm = {state.alarm, std::nullopt};
      patient.judged_alarm = state.alarm;
    }
  }
  ServiceFacts& facts = patient.facts;
  facts.phase = state.phase;
  facts.generation = state.generation;
  facts.since = Instant(std::chrono::nanoseconds(state.since_ns));
  if (state.alarm_ns != 0)
    facts.alarm = {state.alarm, Instant(std::chrono::nanoseconds(state.alarm_ns))};
  else if (state.alarm != patient.judged_alarm)
    facts.alarm = {state.alarm, now};
  patient.judged_alarm = state.alarm;
  patient.judged_alarm_ns = state.alarm_ns;
  patient.judged_phase = state.phase;
  return patient;
}

void Health::see_cards(Patient& patient, const Fleet::Member& member, Instant now) {
  const GpuSnapshot& gpu = fleet_.gpu();
  std::set<ProcessId> ended;
  for (const auto& id : patient.contexts.holders())
    if (!os::lives(id)) ended.insert(id);
  if (patient.facts.context.ever || !member.pids.empty())
    patient.contexts.see(gpu, member.pids, ended);
  ServiceFacts& facts = patient.facts;
  facts.context = patient.contexts.facts();
  facts.context.only_workers_lost =
      facts.context.lost_alive != 0 && !patient.contexts.has_lost(member.state.main.pid);
  facts.sight = patient.contexts.sight(gpu, now, &facts.sight_detail);
  facts.gpu_percent = patient.contexts.gpu_percent();
  facts.restarts_blocked = restarts_blocked(gpu);
}

void Health::see_xids(Patient& patient, const std::string& name) const {
  patient.facts.xids.clear();
  if (xids_ == nullptr) return;
  for (const auto* incident : xids_->of_service(name)) {
    if (!incident->line.pid) continue;
    XidFact xid;
    xid.number = incident->line.number;
    xid.pid = Pid{static_cast<pid_t>(*incident->line.pid)};
    xid.at = incident->last;
    // The number of an older line may have come to another process before anybody looked.
    const auto first = patient.contexts.first_look();
    xid.poisons = incident->judged.victim == incident->line.pid && first && xid.at >= *first;
    if (incident->start_ticks != 0 && os::lives({xid.pid, incident->start_ticks}))
      xid.began = xid.at;
    xid.last_busy = patient.contexts.last_busy(xid.pid);
    const bool of_this_life = xid.began || xid.at >= patient.facts.since;
    if (of_this_life) patient.facts.xids.push_back(xid);
  }
}

void Health::look_closer(Instant) {
  const bool all = looks_++ % kCloserEvery == 0;
  std::optional<std::map<std::uint16_t, std::uint32_t>> waiting;
  for (auto& [name, patient] : patients_) {
    const auto at = fleet_.members().find(name);
    if (at == fleet_.members().end() || !at->second.alive) continue;
    ServiceFacts& facts = patient.facts;
    const bool doubtful = is_doubtful(facts, patient.waits);
    if (!doubtful) facts.progress = {};
    if (!doubtful && !(all && facts.context.ever && facts.phase == Phase::ready)) continue;
    const auto ports = ports_of(at->second);
    facts.waiting.reset();
    if (!ports.empty()) {
      if (!waiting) waiting = waiting_by_port();
      std::uint32_t sum = 0;
      for (const auto port : ports)
        if (const auto found = waiting->find(port); found != waiting->end()) sum += found->second;
      facts.waiting = sum;
    }
    patient.waits = facts.waiting.value_or(0) != 0;
    if (doubtful) facts.progress = progress_of(at->second);
  }
}

void Health::look() {
  const Instant now = os::now();
  std::erase_if(patients_,
                [&](const auto& item) { return !fleet_.members().contains(item.first); });
  for (const auto& [name, member] : fleet_.members()) {
    if (!member.alive || !member.heard) continue;
    Patient& patient = patient_of(name, member, now);
    see_cards(patient, member, now);
    see_xids(patient, name);
  }
  look_closer(now);
  // What is remembered of one whose anchor is away is not what is: it is not judged by that.
  for (auto& [name, patient] : patients_) {
    const auto& member = fleet_.members().at(name);
    if (member.alive && member.heard) judge(name, patient, now);
  }
}

bool Health::news() {
  const Instant now = os::now();
  bool look_now = false;
  for (const auto& [name, member] : fleet_.members()) {
    if (!member.alive || !member.heard) continue;
    const auto at = patients_.find(name);
    const bool fresh = at == patients_.end() || at->second.generation != member.state.generation ||
                       at->second.judged_phase != member.state.phase ||
                       at->second.judged_alarm != member.state.alarm ||
                       at->second.judged_alarm_ns != member.state.alarm_ns;
    if (!fresh) continue;
    Patient& patient = patient_of(name, member, now);
    see_cards(patient, member, now);
    see_xids(patient, name);
    look_now |= tells_of_cuda(member.state.alarm) && patient.facts.context.ever;
    judge(name, patient, now);
  }
  return look_now;
}

void Health::judge_again(const std::string& service) {
  const auto at = patients_.find(service);
  if (at == patients_.end()) return;
  const Instant now = os::now();
  const auto member = fleet_.members().find(service);
  if (member == fleet_.members().end() || !member->second.alive || !member->second.heard) return;
  see_cards(at->second, member->second, now);
  see_xids(at->second, service);
  judge(service, at->second, now);
}

void Health::judge(const std::string& name, Patient& patient, Instant now) {
  const auto* canary = canaries_ != nullptr ? canaries_->facts(name, patient.generation) : nullptr;
  patient.facts.canary = canary != nullptr ? std::optional(*canary) : std::nullopt;
  note(name, patient, decide(patient.facts, patient.memory, now), now);
}

// What anchors do themselves is in their journals: a verdict is told where it is ours.
void Health::note(const std::string& name, Patient& patient, const Decision& decision,
                  Instant now) {
  const Verdict before = std::exchange(patient.noted, decision.verdict);
  if (before == decision.verdict || (!is_told(before) && !is_told(decision.verdict))) return;
  const auto judgement = explain(patient.facts, decision, now);
  LedgerEntry entry;
  entry.kind = EventKind::verdict_changed;
  entry.service = name;
  entry.generation = patient.generation;
  entry.why = std::string(to_string(before)) + " to " + std::string(to_string(decision.verdict));
  if (!judgement.sentence.empty()) entry.why += ": " + judgement.sentence;
  entry.evidence = join(judgement.evidence);
  if (const auto advice = describe(decision.action); !advice.empty())
    entry.outcome = "advice: " + std::string(advice);
  clerk_.note({std::move(entry)});
}

const Decision* Health::decision(const std::string& service) const {
  const auto at = patients_.find(service);
  if (at == patients_.end() || !is_fresh(at->second.memory, os::now())) return nullptr;
  return &*at->second.memory.current;
}

std::string Health::sentence(const std::string& service) const {
  const auto* last = decision(service);
  if (last == nullptr) return {};
  return explain(patients_.at(service).facts, *last, os::now()).sentence;
}

std::string Health::evidence(const std::string& service) const {
  const auto at = patients_.find(service);
  if (at == patients_.end() || !at->second.memory.current) return {};
  return join(explain(at->second.facts, *at->second.memory.current, os::now()).evidence);
}

void Health::complete(StatusReport& report) const {
  const Instant now = os::now();
  for (auto& service : report.services) {
    const auto at = patients_.find(service.name);
    // Where its anchor cannot be asked, or something else is in the way, that is what there is to
    // say.
    const bool spoken = service.verdict == Verdict::healthy ||
                        service.verdict == Verdict::starting ||
                        service.verdict == Verdict::unkillable;
    const auto member = fleet_.members().find(service.name);
    if (!spoken || at == patients_.end() || member == fleet_.members().end()) continue;
    const Patient& patient = at->second;
    if (!is_fresh(patient.memory, now) || patient.facts.phase != member->second.state.phase)
      continue;
    auto judgement = explain(patient.facts, *patient.memory.current, now);
    service.verdict = judgement.decision.verdict;
    if (!judgement.sentence.empty()) service.sentence = std::move(judgement.sentence);
    service.evidence.insert(service.evidence.end(), judgement.evidence.begin(),
                            judgement.evidence.end());
    service.action = judgement.decision.action;
    service.witnesses = judgement.decision.witnesses;
    service.verdict_age_seconds =
        std::chrono::duration<double>(now - judgement.decision.since).count();
  }
}

}  // namespace gpuward::warden
