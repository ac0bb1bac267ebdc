#include "domain/xid_policy.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

constexpr auto kEscalates109 = 1h;
constexpr auto kNeighbour = 10s;  // an echo comes milliseconds after; the log may be slow
constexpr auto kOwnEnd = 10s;     // so long may the driver clean up after a process
constexpr std::size_t kSuspectServices = 3;

struct Range {
  std::uint32_t first;
  std::uint32_t last;
  XidClass xid_class;
};

// 64 stands under the resets, because that is what comes first; so does 109, see judge_timeout().
constexpr auto kTable = std::to_array<Range>({
    {8, 8, XidClass::app},        {11, 11, XidClass::app},
    {13, 13, XidClass::app},      {25, 25, XidClass::app},
    {31, 32, XidClass::app},      {37, 38, XidClass::info},
    {39, 41, XidClass::app},      {43, 43, XidClass::follow_on},
    {44, 44, XidClass::info},     {45, 45, XidClass::follow_on},
    {46, 46, XidClass::reset},    {48, 48, XidClass::memory},
    {54, 54, XidClass::reboot},   {60, 60, XidClass::app},
    {62, 62, XidClass::reset},    {63, 63, XidClass::memory},
    {64, 64, XidClass::reset},    {66, 67, XidClass::info},
    {68, 72, XidClass::app},      {74, 74, XidClass::link},
    {75, 77, XidClass::app},      {79, 79, XidClass::reboot},
    {80, 80, XidClass::app},      {82, 86, XidClass::app},
    {88, 89, XidClass::app},      {92, 92, XidClass::memory},
    {93, 93, XidClass::info},     {94, 94, XidClass::app_contained},
    {95, 95, XidClass::reset},    {96, 105, XidClass::app},
    {106, 107, XidClass::info},   {109, 110, XidClass::reset},
    {119, 120, XidClass::reset},  {121, 121, XidClass::link},
    {126, 135, XidClass::app},    {136, 136, XidClass::reset},
    {137, 137, XidClass::link},   {139, 139, XidClass::app},
    {140, 140, XidClass::reset},  {141, 141, XidClass::info},
    {143, 143, XidClass::reset},  {144, 150, XidClass::link},
    {151, 151, XidClass::reboot}, {152, 153, XidClass::info},
    {154, 154, XidClass::advice}, {155, 156, XidClass::reset},
    {157, 157, XidClass::memory}, {158, 158, XidClass::reset},
    {160, 165, XidClass::info},   {171, 172, XidClass::memory},
    {173, 173, XidClass::link},
});

std::string_view meaning_of(std::uint32_t xid) {
  switch (xid) {
    case 13:
      return "an exception in a kernel";
    case 31:
      return "a page fault on the card";
    case 43:
      return "a channel was reset";
    case 45:
      return "channels were removed";
    case 48:
      return "a memory error that cannot be corrected";
    case 54:
      return "its power supply is not connected";
    case 63:
      return "a row of memory waits to be remapped";
    case 64:
      return "a row of memory could not be remapped";
    case 74:
      return "an NVLink error";
    case 79:
      return "the card has fallen off the bus";
    case 92:
      return "many corrected memory errors";
    case 94:
      return "a memory error, contained in one process";
    case 95:
      return "a memory error that was not contained";
    case 109:
      return "a context switch timed out";
    case 119:
      return "its system processor does not answer";
    case 120:
      return "an error in its system processor";
    case 154:
      return "the driver's advice has changed";
    default:
      return {};
  }
}

std::string_view advice_of(std::uint32_t recovery) {
  switch (recovery) {
    case 0:
      return "nothing to be done";
    case 1:
      return "reset the card";
    case 2:
      return "reboot the host";
    case 3:
      return "drain what works with other cards";
    case 4:
      return "drain and reset the card";
    default:
      return "something that this version does not know";
  }
}

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

bool same_incident(const XidIncident& incident, const XidIncident& next) {
  return incident.line.number == next.line.number && incident.line.pid == next.line.pid &&
         incident.line.instance == next.line.instance && next.first >= incident.first &&
         next.first - incident.last <= XidHistory::kEpisode;
}

}  // namespace

std::string_view to_string(XidClass xid_class) {
  switch (xid_class) {
    case XidClass::unlisted:
      return "unlisted";
    case XidClass::app:
      return "app";
    case XidClass::app_contained:
      return "app-contained";
    case XidClass::follow_on:
      return "follow-on";
    case XidClass::reset:
      return "reset";
    case XidClass::reboot:
      return "reboot";
    case XidClass::memory:
      return "memory";
    case XidClass::link:
      return "link";
    case XidClass::advice:
      return "advice";
    case XidClass::info:
      return "info";
  }
  return "unlisted";
}

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

XidClass class_of(std::uint32_t xid) {
  for (const auto& range : kTable)
    if (xid >= range.first && xid <= range.last) return range.xid_class;
  return XidClass::unlisted;
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

XidHistory::Card& XidHistory::card_at(const PciAddress& card) {
  if (!cards_.contains(card) && cards_.size() >= kMostCards) {
    const auto heard = [](const auto& item) {
      return item.second.incidents.empty() ? Instant::min() : item.second.incidents.back().last;
    };
    cards_.erase(std::ranges::min_element(
        cards_, [&](const auto& a, const auto& b) { return heard(a) < heard(b); }));
  }
  return cards_[card];
}

void XidHistory::raise(Card& card, const XidIncident& incident) {
  const auto consequence = incident.judged.consequence;
  if (consequence == CardConsequence::none || consequence < card.standing.consequence) return;
  if (consequence > card.standing.consequence)
    card.standing = {consequence, incident.first, incident.judged.sentence};
  card.raised = std::max(card.raised, incident.last);
}

const XidIncident& XidHistory::keep(Card& card, XidIncident incident) {
  // An echo may come in between: the newest ones are looked at, not only the last.
  for (auto at = card.incidents.rbegin(); at != card.incidents.rend(); ++at) {
    if (!same_incident(*at, incident)) continue;
    ++at->times;
    at->last = std::max(at->last, incident.last);
    raise(card, *at);
    return *at;
  }
  raise(card, incident);
  if (card.incidents.size() >= kMostPerCard) card.incidents.erase(card.incidents.begin());
  card.incidents.push_back(std::move(incident));
  return card.incidents.back();
}

const XidIncident& XidHistory::add(const XidLine& line, const XidFacts& facts) {
  XidIncident incident;
  incident.line = line;
  incident.service = facts.service;
  incident.start_ticks = facts.start_ticks;
  incident.first = incident.last = facts.at;
  incident.judged = judge(*this, line, facts);
  return keep(card_at(line.card), std::move(incident));
}

const XidIncident& XidHistory::add_off_bus(const std::optional<PciAddress>& card, Instant at) {
  constexpr std::uint32_t kOffBus = 79;
  XidIncident incident;
  incident.line.number = kOffBus;
  incident.line.card = card.value_or(PciAddress{});
  incident.off_bus_text = true;
  incident.card_is_known = card.has_value();
  incident.first = incident.last = at;
  if (card) {
    XidFacts facts;
    facts.at = at;
    incident.judged = judge(*this, incident.line, facts);
    // Some drivers say it twice, by number with a process and in words.
    Card& known = card_at(*card);
    for (auto& earlier : known.incidents)
      if (earlier.line.number == kOffBus && at - earlier.last <= kEpisode) {
        ++earlier.times;
        earlier.last = std::max(earlier.last, at);
        return earlier;
      }
    return keep(known, std::move(incident));
  }
  incident.judged.xid_class = XidClass::reboot;
  incident.judged.action = XidAction::reboot_host;
  incident.judged.consequence = CardConsequence::quarantine;
  incident.judged.sentence =
      "a card has fallen off the bus, and the driver does not say which: nothing can use it until "
      "the host is rebooted";
  for (auto& earlier : unknown_)
    if (at - earlier.last <= kEpisode) {
      ++earlier.times;
      earlier.last = std::max(earlier.last, at);
      return earlier;
    }
  if (unknown_.size() >= kMostPerCard) unknown_.erase(unknown_.begin());
  unknown_.push_back(std::move(incident));
  return unknown_.back();
}

std::span<const XidIncident> XidHistory::of_card(const PciAddress& card) const {
  const auto at = cards_.find(card);
  return at == cards_.end() ? std::span<const XidIncident>() : at->second.incidents;
}

std::vector<const XidIncident*> XidHistory::of_service(std::string_view service) const {
  std::vector<const XidIncident*> found;
  for (const auto& [address, card] : cards_)
    for (const auto& incident : card.incidents)
      if (incident.service == service) found.push_back(&incident);
  std::ranges::sort(found, {}, &XidIncident::first);
  return found;
}

std::vector<PciAddress> XidHistory::cards() const {
  std::vector<PciAddress> all;
  all.reserve(cards_.size());
  for (const auto& [address, card] : cards_) all.push_back(address);
  return all;
}

CardStanding XidHistory::standing(const PciAddress& card) const {
  const auto at = cards_.find(card);
  return at == cards_.end() ? CardStanding{} : at->second.standing;
}

void XidHistory::clear(const PciAddress& card) {
  cards_.erase(card);
}

void XidHistory::forget_old(Instant now) {
  const auto is_old = [now](const XidIncident& one) { return now - one.last > kSpan; };
  std::erase_if(unknown_, is_old);
  for (auto& [address, card] : cards_) {
    std::erase_if(card.incidents, is_old);
    const bool faded =
        card.standing.consequence == CardConsequence::suspect && now - card.raised > kSpan;
    if (faded) card.standing = {};
  }
  std::erase_if(cards_, [](const auto& item) {
    return item.second.incidents.empty() &&
           item.second.standing.consequence == CardConsequence::none;
  });
}

}  // namespace gpuward
