#include "domain/card.h"

#include <algorithm>
#include <cctype>

namespace gpuward {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  });
  return out;
}

bool only(std::string_view text, std::string_view letters) {
  return !text.empty() && text.find_first_not_of(letters) == std::string_view::npos;
}

// "00000000:61:00.0", "0000:61:00.0" and "61:00.0" are one place: domains count as numbers.
std::string plain_pci(std::string_view text) {
  std::string pci = lower(text);
  const auto colon = pci.find(':');
  if (colon == std::string::npos || pci.find(':', colon + 1) == std::string::npos) return pci;
  const auto digit = pci.find_first_not_of('0');
  return digit >= colon ? pci.substr(colon + 1) : pci.substr(digit);
}

bool is_pci(std::string_view text) {
  return text.find(':') != std::string_view::npos && only(lower(text), "0123456789abcdef:.");
}

bool begins_uuid(const std::string& uuid, std::string_view text) {
  const std::string whole = lower(uuid);
  const std::string begun = lower(text);
  return whole.starts_with(begun) ||
         (whole.starts_with("gpu-") && whole.substr(4).starts_with(begun));
}

std::string card_text(const CardMark& mark) {
  return "GPU " + std::to_string(mark.index) + " (" + mark.uuid + ")";
}

}  // namespace

std::string_view to_string(CardRemedy remedy) {
  switch (remedy) {
    case CardRemedy::reset:
      return "reset";
    case CardRemedy::reboot:
      return "reboot";
    case CardRemedy::replace:
      return "replace";
    case CardRemedy::none:
      break;
  }
  return "none";
}

std::string advice_for(CardRemedy remedy, std::uint32_t index) {
  const std::string n = std::to_string(index);
  switch (remedy) {
    case CardRemedy::reset:
      return "gpuward drain --gpu " + n + ", then nvidia-smi --gpu-reset -i " + n +
             ", then gpuward uncordon " + n;
    case CardRemedy::reboot:
      return "gpuward drain --gpu " + n + ", then reboot this machine";
    case CardRemedy::replace:
      return "gpuward drain --gpu " + n +
             ", then have the card looked at: it came back after a "
             "reset and a reboot";
    case CardRemedy::none:
      break;
  }
  return {};
}

std::optional<CardFinding> finding_of(const GpuDevice& device) {
  if (device.state == GpuState::lost)
    return CardFinding{CardRemedy::reboot, "the card fell off the bus", "NVML answers 15 (lost)"};
  if (device.state == GpuState::reset_required)
    return CardFinding{CardRemedy::reset, "the driver calls for a reset",
                       "NVML answers 16 (reset required)"};
  return std::nullopt;
}

CardFinding finding_of(const XidJudgement& judged, std::uint32_t xid) {
  CardRemedy remedy = CardRemedy::none;
  if (judged.action == XidAction::reset_card || judged.action == XidAction::reset_when_idle)
    remedy = CardRemedy::reset;
  if (judged.action == XidAction::reboot_host) remedy = CardRemedy::reboot;
  if (judged.action == XidAction::replace_card) remedy = CardRemedy::replace;
  return {remedy, "Xid " + std::to_string(xid), judged.sentence};
}

bool quarantine(CardMark& mark, const CardFinding& finding, std::int64_t unix_ms,
                const std::string& boot) {
  if (mark.quarantined && finding.remedy <= mark.remedy) return false;
  CardRemedy remedy = finding.remedy;
  const bool ended = !mark.quarantined && mark.remedy != CardRemedy::none;
  const auto since = std::chrono::milliseconds(unix_ms - mark.quarantined_unix_ms);
  if (ended && since < kSameTroubleWithin && remedy <= mark.remedy && remedy != CardRemedy::none)
    remedy = static_cast<CardRemedy>(
        std::min<int>(static_cast<int>(mark.remedy) + 1, static_cast<int>(CardRemedy::replace)));
  mark.quarantined = true;
  mark.rule = finding.rule;
  mark.evidence = finding.evidence;
  mark.quarantined_unix_ms = unix_ms;
  mark.boot = boot;
  mark.remedy = remedy;
  return true;
}

std::optional<CardFinding> finding_of(std::span<const XidIncident> heard, const CardMark* mark,
                                      const std::string& boot) {
  Instant from = Instant::min();
  if (mark != nullptr && !mark->lifted_boot.empty() && mark->lifted_boot == boot)
    from = Instant(std::chrono::nanoseconds(mark->lifted_ns)) + kLogClockSlack;
  std::optional<CardFinding> worst;
  for (const auto& incident : heard) {
    if (incident.judged.consequence != CardConsequence::quarantine || incident.last <= from)
      continue;
    auto finding = finding_of(incident.judged, incident.line.number);
    if (!worst || finding.remedy > worst->remedy) worst = std::move(finding);
  }
  return worst;
}

void lift(CardMark& mark, Instant now, const std::string& boot) {
  mark.cordoned = mark.drained = mark.quarantined = false;
  mark.lifted_ns = now.time_since_epoch() / std::chrono::nanoseconds(1);
  mark.lifted_boot = boot;
}

bool end_by_boot(CardMark& mark, const std::string& boot) {
  if (!mark.quarantined || boot.empty() || mark.boot == boot) return false;
  if (mark.remedy != CardRemedy::reset && mark.remedy != CardRemedy::reboot) return false;
  mark.quarantined = false;
  return true;
}

const CardMark* find_mark(const CardBook& book, std::string_view uuid) {
  const auto at = std::ranges::find(book.marks, uuid, &CardMark::uuid);
  return at == book.marks.end() ? nullptr : &*at;
}

CardMark& mark_of(CardBook& book, const GpuDevice& device) {
  auto at = std::ranges::find(book.marks, device.uuid, &CardMark::uuid);
  if (at == book.marks.end()) {
    if (book.marks.size() >= kMostMarks) book.marks.erase(book.marks.begin());
    at = book.marks.insert(book.marks.end(), CardMark{});
    at->uuid = device.uuid;
  }
  at->index = device.index;
  at->name = device.name;
  return *at;
}

// One that was quarantined stays: it is known again when the trouble comes back. So does one that a
// person called well: the kernel's log may still tell what was before.
void tidy(CardBook& book) {
  std::erase_if(book.marks, [](const CardMark& mark) {
    return !mark.cordoned && !mark.quarantined && mark.remedy == CardRemedy::none &&
           mark.lifted_boot.empty();
  });
}

bool remember(CardBook& book, const std::string& service, std::uint64_t mark,
              const std::vector<std::string>& uuids) {
  auto at = std::ranges::find(book.services, service, &CardsOfService::service);
  if (at == book.services.end()) {
    if (book.services.size() >= kMostCardServices) book.services.erase(book.services.begin());
    at = book.services.insert(book.services.end(), CardsOfService{service, 0, {}});
  }
  if (at->mark == mark && at->uuids == uuids) return false;
  at->mark = mark;
  at->uuids = uuids;
  return true;
}

std::optional<std::string> why_not_started(const CardBook& book, const std::string& service,
                                           std::uint64_t mark, bool obeys_rules) {
  const auto at = std::ranges::find(book.services, service, &CardsOfService::service);
  if (at == book.services.end() || at->mark != mark) return std::nullopt;
  for (const auto& uuid : at->uuids) {
    const CardMark* card = find_mark(book, uuid);
    if (card == nullptr || !(card->cordoned || (card->quarantined && obeys_rules))) continue;
    return "it was on " + card_text(*card) + " when it ran last, and that card is " +
           describe(*card) + "; gpuward uncordon " + std::to_string(card->index) +
           ", or gpuward start --anyway " + service;
  }
  return std::nullopt;
}

void add_standing(std::vector<CardMark>& marks, const GpuDevice& device,
                  const CardStanding& standing) {
  if (standing.consequence == CardConsequence::none) return;
  auto at = std::ranges::find(marks, device.uuid, &CardMark::uuid);
  if (at == marks.end()) {
    at = marks.insert(marks.end(), CardMark{});
    at->uuid = device.uuid;
    at->index = device.index;
    at->name = device.name;
  }
  at->standing = standing.consequence;
  at->standing_why = standing.why;
}

std::string describe(const CardMark& mark) {
  std::string text;
  if (mark.quarantined)
    text = "quarantined: " + mark.rule + " (" + mark.evidence + ")";
  else if (mark.standing == CardConsequence::suspect)
    text = "suspect: " + mark.standing_why;
  if (!mark.cordoned) return text;
  if (!text.empty()) text += "; ";
  text += mark.drained ? "drained" : "cordoned";
  if (!mark.cordoned_by.empty()) text += " by " + mark.cordoned_by;
  if (!mark.cordoned_why.empty()) text += ": " + mark.cordoned_why;
  return text;
}

CardChoice choose_card(const std::vector<CardName>& cards, std::string_view text) {
  CardChoice choice;
  const auto fits = [&](const CardName& card) {
    if (only(text, "0123456789") && text.size() <= 4) return std::to_string(card.index) == text;
    if (is_pci(text)) return !card.pci.empty() && plain_pci(card.pci) == plain_pci(text);
    return text.size() >= 4 && begins_uuid(card.uuid, text) && lower(text) != "gpu-";
  };
  for (std::size_t at = 0; at < cards.size(); ++at) {
    if (!fits(cards[at])) continue;
    if (choice.at) {
      choice.at.reset();
      choice.why_not = "more than one card begins with '" + std::string(text.substr(0, 80)) + "'";
      return choice;
    }
    choice.at = at;
  }
  if (choice.at) return choice;
  choice.why_not = "no card '" + std::string(text.substr(0, 80)) + "' is seen; there " +
                   (cards.size() == 1 ? "is" : "are");
  if (cards.empty()) choice.why_not += " none";
  for (std::size_t at = 0; at < cards.size() && at < 8; ++at)
    choice.why_not +=
        (at == 0 ? " " : ", ") + std::to_string(cards[at].index) + " (" + cards[at].uuid + ")";
  if (cards.size() > 8) choice.why_not += " and " + std::to_string(cards.size() - 8) + " more";
  return choice;
}

}  // namespace gpuward
