#include <algorithm>
#include <utility>

#include "domain/xid_policy.h"

namespace gpuward {
namespace {

// Of two tellers of one trouble, the driver's line and its event, only the line names the process.
bool same_incident(const XidIncident& incident, const XidIncident& next) {
  const bool of_one = !incident.line.pid || !next.line.pid || incident.line.pid == next.line.pid;
  return incident.line.number == next.line.number && of_one &&
         incident.line.instance == next.line.instance && next.first >= incident.first &&
         next.first - incident.last <= XidHistory::kEpisode;
}

// Says it again; what only @p next knows of it is added.
void say_again(XidIncident& incident, const XidIncident& next) {
  ++incident.times;
  incident.last = std::max(incident.last, next.last);
  if (incident.line.pid || !next.line.pid) return;
  incident.line = next.line;
  incident.service = next.service;
  incident.start_ticks = next.start_ticks;
  incident.judged = next.judged;
}

// How much would be lost with it.
int weight_of(const XidIncident& incident) {
  const auto& judged = incident.judged;
  const bool echo = judged.xid_class == XidClass::follow_on || judged.action == XidAction::none;
  if (judged.consequence != CardConsequence::none) return 1 + static_cast<int>(judged.consequence);
  return echo ? 0 : 1;
}

// Echoes come by the thousand: they make room for each other, not for what they are echoes of.
void make_room(std::vector<XidIncident>& incidents) {
  incidents.erase(std::ranges::min_element(incidents, {}, weight_of));  // of equals the oldest
}

}  // namespace

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
    say_again(*at, incident);
    raise(card, *at);
    return *at;
  }
  raise(card, incident);
  if (card.incidents.size() >= kMostPerCard) make_room(card.incidents);
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
