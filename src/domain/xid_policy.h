#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "domain/xid.h"
#include "domain/xid_table.h"

// What follows from an Xid.

namespace gpuward {

/// The one thing to be done, by whoever may do it.
enum class XidAction : std::uint8_t {
  none = 0,             ///< it is noise, or only for the record
  watch = 1,            ///< nothing yet
  restart_service = 2,  ///< that of the process in the line
  report_stranger = 3,  ///< its process is none of ours: nobody is touched
  check_card = 4,       ///< a diagnosis by a person: unlisted, or three services were hit
  reset_when_idle = 5,  ///< at the next chance: rows wait to be remapped
  reset_card = 6,       ///< drain its services, then reset it
  reboot_host = 7,
  replace_card = 8,  ///< inspection of the hardware, or its return
  inspect_link = 9,  ///< NVLink, cables, the switch
  read_advice = 10,  ///< NVML field 230
};
/// "restart-service": a contract of the JSON output.
std::string_view to_string(XidAction action);

/// What an Xid means for its card. Ordered: the later is the worse.
enum class CardConsequence : std::uint8_t {
  none = 0,
  suspect = 1,     ///< nothing new is placed there, what runs runs on
  quarantine = 2,  ///< its services are to leave it
};
/// "quarantine": a contract of the JSON output.
std::string_view to_string(CardConsequence consequence);

/// What is known about an Xid beside its line.
struct XidFacts {
  Instant at{};         ///< when the driver said it
  std::string service;  ///< whose tree its pid was in; empty: nobody's here, or it cannot be told
  /// Start time of the process that had this pid here when the line was read, in clock ticks since
  /// boot; 0: none had, or pids of the driver are not ours (harm.md 4).
  std::uint64_t start_ticks = 0;
  /// When gpuward last ended processes of that service, or saw them end; absent: not lately.
  std::optional<Instant> tree_ended;
};

/// `action` is the one thing that the sentence asks for. Where there is a victim that lives still
/// and is of a service, that service's restart goes without saying: a lost context never heals.
struct XidJudgement {
  XidClass xid_class = XidClass::unlisted;
  XidAction action = XidAction::none;
  CardConsequence consequence = CardConsequence::none;
  /// Whose context is lost if it lives still: the pid of the line. Absent: nobody's in particular.
  std::optional<std::uint32_t> victim;
  std::uint32_t cause = 0;  ///< of a follow-on: the Xid that it echoes; 0: none
  std::string sentence;     ///< for people, with the action; without a trailing full stop
};

/// One Xid, or several of the same number and process in a row.
struct XidIncident {
  XidLine line;
  bool off_bus_text = false;      ///< it was said in words: `line.number` is 79
  bool card_is_known = true;      ///< false: such words without an address
  std::string service;            ///< as XidFacts of the first
  std::uint64_t start_ticks = 0;  ///< likewise
  Instant first{};
  Instant last{};
  std::uint32_t times = 1;
  XidJudgement judged;
};

/// What a card's incidents come to.
struct CardStanding {
  CardConsequence consequence = CardConsequence::none;
  Instant since{};
  std::string why;  ///< the sentence of the incident that brought it there
};

class XidHistory;

/// Judges @p line after what @p history tells. Pure; adds nothing.
XidJudgement judge(const XidHistory& history, const XidLine& line, const XidFacts& facts);

/// The Xids of the last 24 hours, by card. Bounded: at most kMostCards cards, kMostPerCard
/// incidents each; of those the mildest go first, of equals the oldest. What a card has come to
/// stays until clear().
class XidHistory {
 public:
  static constexpr auto kSpan = std::chrono::hours(24);
  static constexpr std::size_t kMostPerCard = 128;
  static constexpr std::size_t kMostCards = 64;
  /// The same number within this time of the last is the same incident, unless both name a process
  /// and it is another; for what concerns a whole card one of any process.
  static constexpr auto kEpisode = std::chrono::seconds(60);

  /// Judges and keeps. The incident is that which @p line was added to; it stays valid until the
  /// next call.
  const XidIncident& add(const XidLine& line, const XidFacts& facts);
  /// The same for words without a number. @p card may be unknown.
  const XidIncident& add_off_bus(const std::optional<PciAddress>& card, Instant at);

  /// Oldest first. Empty for a card that nothing was heard of.
  std::span<const XidIncident> of_card(const PciAddress& card) const;
  /// Those that hit @p service, on any card, oldest first.
  std::vector<const XidIncident*> of_service(std::string_view service) const;
  std::vector<PciAddress> cards() const;
  /// Words without an address: some card of this host is off the bus.
  const std::vector<XidIncident>& of_unknown_card() const { return unknown_; }
  CardStanding standing(const PciAddress& card) const;

  /// A person or a reset has put @p card right: it stands as if nothing had been heard of it.
  void clear(const PciAddress& card);
  /// Lets go of what is older than kSpan, and of a mere `suspect` that nothing was added to since.
  void forget_old(Instant now);

 private:
  struct Card {
    std::vector<XidIncident> incidents;
    CardStanding standing;
    Instant raised{};  ///< when anything last asked for that
  };
  static void raise(Card& card, const XidIncident& incident);
  Card& card_at(const PciAddress& card);
  const XidIncident& keep(Card& card, XidIncident incident);
  std::map<PciAddress, Card> cards_;
  std::vector<XidIncident> unknown_;
};

}  // namespace gpuward
