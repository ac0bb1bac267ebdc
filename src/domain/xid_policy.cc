#include "domain/xid_policy.h"

#include <algorithm>
#include <set>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

constexpr auto kEscalates109 = 1h;
constexpr auto kNeighbour = 10s;  // an echo comes milliseconds after; the log may be slow
constexpr auto kOwnEnd = 10s;     // so long may the driver clean up after a process
constexpr std::size_t kSuspectServices = 3;

// "Xid 13, an exception in a kernel, of python (pid 4711) of 'xray'"
std::string head_of(const XidLine& line, const XidFacts& facts) {
  std::string text = "Xid " + std::to_string(line.number);
  if (const auto meaning = meaning_of(line.number); !meaning.empty())
    text += ", " + std::string(meaning) + (line.pid ? "," : "");
  if (!line.pid) return text;
  text += " of " + (line.process.empty() ? "a process" : std::string(line.process.view()));
  text += " (pid " + std::to_string(*line.pid) + ")";
  if (!facts.service.empty()) text += " of '" + facts.service + "'";
  return text;
}

bool is_before(const XidIncident& incident, Instant at, Duration within) {
  return incident.last <= at && at - incident.last <= within;
}

// Of whom an Xid tells, as far as that is known.
struct Teller {
  std::string_view service;
  std::optional<std::uint32_t> pid;
};

bool are_different(const Teller& a, const Teller& b) {
  if (!a.service.empty() && !b.service.empty()) return a.service != b.service;
  return a.pid && b.pid && a.pid != b.pid;
}

// How often @p line's number has come to its card before. What follows on each other within
// kEpisode is one trouble that is still being told, @p line with it; unless, @p by_service, another
// service tells it.
std::size_t times_before(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                         Duration within, bool by_service) {
  std::size_t times = 0;
  std::optional<Instant> told_until;
  Teller last;
  const auto begins = [&](const Teller& teller, Instant at) {
    return !told_until || at - *told_until > XidHistory::kEpisode ||
           (by_service && are_different(last, teller));
  };
  for (const auto& incident : history.of_card(line.card)) {
    if (incident.line.number != line.number || !is_before(incident, facts.at, within)) continue;
    const Teller teller{incident.service, incident.line.pid};
    if (begins(teller, incident.first)) ++times;
    told_until = std::max(told_until.value_or(incident.last), incident.last);
    last = teller;
  }
  const bool goes_on = times > 0 && !begins({facts.service, line.pid}, facts.at);
  return goes_on ? times - 1 : times;
}

void ask(XidJudgement& judged, XidAction action, CardConsequence consequence,
         std::string_view what) {
  judged.action = action;
  judged.consequence = consequence;
  judged.sentence += ": ";
  judged.sentence += what;
}

// Whoever is hit has lost its context for good. @return whether somebody is.
void name_victim(XidJudgement& judged, const XidLine& line, const XidFacts& facts) {
  if (!line.pid)
    return ask(judged, XidAction::watch, CardConsequence::none,
               "the driver does not say whose; watch the services of this card");
  judged.victim = line.pid;
  if (facts.service.empty())
    return ask(judged, XidAction::report_stranger, CardConsequence::none,
               "it is of no service here and is left alone; tell its owner");
  ask(judged, XidAction::restart_service, CardConsequence::none,
      "its context on the card is lost; restart the service");
}

// 13 and 31 may come from any program's mistakes; from those of three, it is the card's.
std::size_t services_hit(const XidHistory& history, const XidLine& line, const XidFacts& facts) {
  std::set<std::string_view> services;
  if (!facts.service.empty()) services.insert(facts.service);
  for (const auto& incident : history.of_card(line.card)) {
    const bool counts = incident.line.number == 13 || incident.line.number == 31;
    if (counts && !incident.service.empty() && is_before(incident, facts.at, XidHistory::kSpan))
      services.insert(incident.service);
  }
  return services.size();
}

void judge_app(const XidHistory& history, const XidLine& line, const XidFacts& facts,
               XidJudgement& judged) {
  const bool common = line.number == 13 || line.number == 31;
  if (!common || facts.service.empty() || services_hit(history, line, facts) < kSuspectServices)
    return name_victim(judged, line, facts);
  judged.victim = line.pid;
  ask(judged, XidAction::check_card, CardConsequence::suspect,
      "Xid 13 or 31 has hit three services on this card within a day; suspect the card and have it "
      "diagnosed (dcgmi diag -r 2, once it is empty)");
}

void judge_contained(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                     XidJudgement& judged) {
  if (times_before(history, line, facts, XidHistory::kSpan, true) == 0)
    return name_victim(judged, line, facts);
  judged.victim = line.pid;
  ask(judged, XidAction::reset_when_idle, CardConsequence::suspect,
      "not the first within a day; reset the card at the next idle moment, so that the row is "
      "remapped");
}

// The device plugin takes it for a mistake of the application, NVIDIA's newer catalogue resets the
// card: the service first, the card on the second within an hour.
void judge_timeout(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                   XidJudgement& judged) {
  if (times_before(history, line, facts, kEscalates109, true) == 0) {
    judged.xid_class = XidClass::app;
    return name_victim(judged, line, facts);
  }
  judged.victim = line.pid;
  ask(judged, XidAction::reset_card, CardConsequence::quarantine,
      "the second within an hour; drain the card and reset it");
}

void judge_reset(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                 XidJudgement& judged) {
  if (line.number == 109) return judge_timeout(history, line, facts, judged);
  judged.victim = line.pid;
  const auto before = times_before(history, line, facts, XidHistory::kSpan, false);
  if (before == 0)
    return ask(judged, XidAction::reset_card, CardConsequence::quarantine,
               "drain the card and reset it (nvidia-smi --gpu-reset)");
  if (line.number == 64 || before > 1)
    return ask(judged, XidAction::replace_card, CardConsequence::quarantine,
               "again within a day; have the card inspected or replaced");
  ask(judged, XidAction::reboot_host, CardConsequence::quarantine,
      "again within a day; a reset was not enough, reboot the host");
}

void judge_reboot(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                  XidJudgement& judged) {
  judged.victim = line.pid;
  if (line.number == 54)
    return ask(judged, XidAction::check_card, CardConsequence::quarantine,
               "hands are needed: check its power cables");
  if (times_before(history, line, facts, XidHistory::kSpan, false) > 0)
    return ask(judged, XidAction::replace_card, CardConsequence::quarantine,
               "again within a day; have the card replaced");
  if (line.number == 151)
    return ask(judged, XidAction::reboot_host, CardConsequence::quarantine,
               "restart the virtual machine");
  ask(judged, XidAction::reboot_host, CardConsequence::quarantine,
      "nothing can use it until the host is rebooted; run its services elsewhere");
}

void judge_memory(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                  XidJudgement& judged) {
  const auto before = times_before(history, line, facts, XidHistory::kSpan, false);
  if (line.number == 48) {
    judged.victim = line.pid;
    if (before == 0)
      return ask(judged, XidAction::reset_card, CardConsequence::quarantine,
                 "drain the card and reset it, so that the row is remapped");
    return ask(judged, XidAction::check_card, CardConsequence::quarantine,
               "again within a day; look whether rows can still be remapped (nvidia-smi -q -d "
               "ROW_REMAPPER): if not, have the card replaced");
  }
  if (line.number == 63)
    return ask(judged, XidAction::reset_when_idle, CardConsequence::none,
               "the card works on; reset it at the next idle moment");
  ask(judged, XidAction::watch, CardConsequence::none, "the card works on; watch it");
}

void judge_link(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                XidJudgement& judged) {
  judged.victim = line.pid;
  const bool again = times_before(history, line, facts, XidHistory::kSpan, false) > 0;
  ask(judged, again ? XidAction::inspect_link : XidAction::watch, CardConsequence::none,
      again ? "again within a day; have the link inspected; services on one card run on"
            : "only services on several cards are concerned; watch them");
}

const XidIncident* neighbour_of(const XidHistory& history, const XidLine& line, Instant at) {
  const XidIncident* found = nullptr;
  for (const auto& incident : history.of_card(line.card)) {
    const auto kind = class_of(incident.line.number);
    if (kind == XidClass::follow_on || kind == XidClass::info || kind == XidClass::advice ||
        !is_before(incident, at, kNeighbour))
      continue;
    if (line.caused_by && *line.caused_by != incident.line.number) continue;
    const bool of_one = kind == XidClass::app || kind == XidClass::app_contained;
    if (of_one && incident.line.pid && incident.line.pid != line.pid) continue;
    found = &incident;
  }
  return found;
}

// The echo of another Xid, else of an end, else a context that was lost for a reason nobody said.
void judge_echo(const XidHistory& history, const XidLine& line, const XidFacts& facts,
                XidJudgement& judged) {
  const auto* cause = neighbour_of(history, line, facts.at);
  if (cause != nullptr || line.caused_by) {
    judged.victim = line.pid;
    judged.cause = cause != nullptr ? cause->line.number : *line.caused_by;
    judged.sentence += ", after Xid " + std::to_string(judged.cause);
    const auto kind = class_of(judged.cause);
    const bool told = cause != nullptr && cause->line.pid && cause->line.pid == line.pid;
    const bool card_wide = kind == XidClass::reset || kind == XidClass::reboot ||
                           kind == XidClass::memory || kind == XidClass::unlisted;
    if (told || card_wide)
      return ask(judged, XidAction::none, CardConsequence::none, "what that one asks for holds");
    return name_victim(judged, line, facts);
  }
  const bool own_end = facts.tree_ended && *facts.tree_ended <= facts.at + kOwnEnd &&
                       facts.at - *facts.tree_ended <= kOwnEnd;
  if (own_end)
    return ask(judged, XidAction::none, CardConsequence::none,
               "it was just ended, the driver cleans up; nothing to be done");
  if (!line.pid) return ask(judged, XidAction::none, CardConsequence::none, "nothing to be done");
  judged.victim = line.pid;
  if (facts.service.empty())
    return ask(judged, XidAction::none, CardConsequence::none,
               "it is of no service here, and most such lines tell of an ordinary end");
  ask(judged, XidAction::restart_service, CardConsequence::none,
      "if it lives on, its context on the card is lost; restart the service");
}

void judge_advice(const XidLine& line, XidJudgement& judged) {
  const std::string what = line.recovery
                               ? "it is now: " + std::string(advice_of(*line.recovery))
                               : std::string("read it (nvidia-smi -q, GPU Recovery Action)");
  ask(judged, XidAction::read_advice, CardConsequence::none, what);
}

}  // namespace

std::string_view to_string(XidAction action) {
  switch (action) {
    case XidAction::none:
      return "none";
    case XidAction::watch:
      return "watch";
    case XidAction::restart_service:
      return "restart-service";
    case XidAction::report_stranger:
      return "report-stranger";
    case XidAction::check_card:
      return "check-card";
    case XidAction::reset_when_idle:
      return "reset-when-idle";
    case XidAction::reset_card:
      return "reset-card";
    case XidAction::reboot_host:
      return "reboot-host";
    case XidAction::replace_card:
      return "replace-card";
    case XidAction::inspect_link:
      return "inspect-link";
    case XidAction::read_advice:
      return "read-advice";
  }
  return "none";
}

std::string_view to_string(CardConsequence consequence) {
  switch (consequence) {
    case CardConsequence::none:
      return "none";
    case CardConsequence::suspect:
      return "suspect";
    case CardConsequence::quarantine:
      return "quarantine";
  }
  return "none";
}

XidJudgement judge(const XidHistory& history, const XidLine& line, const XidFacts& facts) {
  XidJudgement judged;
  judged.xid_class = class_of(line.number);
  judged.sentence = head_of(line, facts);
  switch (judged.xid_class) {
    case XidClass::app:
      judge_app(history, line, facts, judged);
      break;
    case XidClass::app_contained:
      judge_contained(history, line, facts, judged);
      break;
    case XidClass::follow_on:
      judge_echo(history, line, facts, judged);
      break;
    case XidClass::reset:
      judge_reset(history, line, facts, judged);
      break;
    case XidClass::reboot:
      judge_reboot(history, line, facts, judged);
      break;
    case XidClass::memory:
      judge_memory(history, line, facts, judged);
      break;
    case XidClass::link:
      judge_link(history, line, facts, judged);
      break;
    case XidClass::advice:
      judge_advice(line, judged);
      break;
    case XidClass::info:
      ask(judged, XidAction::none, CardConsequence::none, "for the record only");
      break;
    case XidClass::unlisted:
      ask(judged, XidAction::check_card, CardConsequence::suspect,
          "a number without a known meaning; gpuward does nothing by itself, look it up");
      break;
  }
  return judged;
}

}  // namespace gpuward
