#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "domain/gpu.h"
#include "domain/xid_policy.h"

namespace gpuward {

// clang-format off
// Whether a card may be used. Two marks, each with who set it and why; a card without one is free
// to be used.
//
//   cordoned     by a person; until uncordoned. Nothing that runs is touched; what was on it when it
//                ran last is not started again. `drain` cordons, then ends what is on it.
//   quarantined  by a rule, on evidence. Said of every card; it holds starts back only of services
//                whose file says heal = "act" (harm.md 6). Ends when a person says so, or by a new
//                boot where that is what mends it; never by itself within one boot, since that the
//                card answers again proves nothing.
//
// What comes back within kSameTroubleWithin of its last quarantine takes the next step: reset, then
// reboot, then replacement, which no boot ends.
// clang-format on

/// What mends a card. The numbers stand in files and never change meaning.
enum class CardRemedy : std::uint8_t { none = 0, reset = 1, reboot = 2, replace = 3 };
/// "reset": a contract of the JSON output.
std::string_view to_string(CardRemedy remedy);
/// What a person can do: "nvidia-smi --gpu-reset -i 0 once nothing holds it (gpuward drain --gpu
/// 0)".
std::string advice_for(CardRemedy remedy, std::uint32_t index);

/// One card's marks, as they are kept.
struct CardMark {
  std::string uuid;
  std::uint32_t index = 0;  ///< when it was seen last: for people
  std::string name;         ///< likewise
  bool cordoned = false;
  std::string cordoned_by;  ///< describe(Actor)
  std::string cordoned_why;
  std::int64_t cordoned_unix_ms = 0;
  bool drained = false;  ///< it was cordoned by `drain`
  bool quarantined = false;
  std::string rule;  ///< "the driver calls for a reset"
  std::string evidence;
  std::int64_t quarantined_unix_ms = 0;  ///< the last time, ended or not
  std::string boot;                      ///< id of the boot it was in
  CardRemedy remedy = CardRemedy::none;
  /// When a person said last that the card is well: CLOCK_MONOTONIC of that boot. Empty: never.
  std::int64_t lifted_ns = 0;
  std::string lifted_boot;
  /// What the kernel's log of the last day comes to, as long as nothing harder is done about it; in
  /// reports, never kept.
  CardConsequence standing = CardConsequence::none;
  std::string standing_why;
};

/// Which cards a service held memory of when it ran last.
struct CardsOfService {
  std::string service;
  std::uint64_t mark = 0;  ///< process_mark() of what ran: another one may well choose another card
  std::vector<std::string> uuids;
};

/// All that is known of the use of the cards of one machine.
struct CardBook {
  static constexpr std::uint8_t kKind = 60;
  std::vector<CardMark> marks;
  std::vector<CardsOfService> services;
};
/// More are not kept; the oldest go.
inline constexpr std::size_t kMostMarks = 256;
inline constexpr std::size_t kMostCardServices = 4096;

/// What speaks for a quarantine.
struct CardFinding {
  CardRemedy remedy = CardRemedy::none;
  std::string rule;
  std::string evidence;
};
/// What the driver's own answer about @p device says of it, if anything does. A call that is late
/// is no finding: it may come back.
std::optional<CardFinding> finding_of(const GpuDevice& device);
/// What the driver said of it in the kernel's log, once that was judged to mean a quarantine.
CardFinding finding_of(const XidJudgement& judged, std::uint32_t xid);

/// What the kernel's log of this boot told of one card that still calls for a quarantine; the worst
/// of it. Nothing of what was said before a person lifted @p mark, nor within kLogClockSlack after:
/// a kernel's record has a clock of its own.
/// @param mark  of the card; null: it has none
std::optional<CardFinding> finding_of(std::span<const XidIncident> heard, const CardMark* mark,
                                      const std::string& boot);
inline constexpr auto kLogClockSlack = std::chrono::seconds(60);

inline constexpr auto kSameTroubleWithin = std::chrono::hours(24);
/// Puts @p mark into quarantine, or raises the remedy of one that is. @return whether it changed.
bool quarantine(CardMark& mark, const CardFinding& finding, std::int64_t unix_ms,
                const std::string& boot);
/// A person says that the card is well: both marks end.
void lift(CardMark& mark, Instant now, const std::string& boot);
/// Ends the quarantine of an earlier boot than @p boot where a boot mends it. @return whether it
/// did.
bool end_by_boot(CardMark& mark, const std::string& boot);

/// The mark of @p uuid, or null.
const CardMark* find_mark(const CardBook& book, std::string_view uuid);
/// Likewise, made where there is none.
CardMark& mark_of(CardBook& book, const GpuDevice& device);
/// Takes out what says nothing any more.
void tidy(CardBook& book);

/// Remembers that @p service, made of @p mark, is on @p uuids. @return whether that is new.
bool remember(CardBook& book, const std::string& service, std::uint64_t mark,
              const std::vector<std::string>& uuids);
/// Why @p service, made of @p mark, is not started now; a sentence that names the card, who, and
/// the way out. @p obeys_rules: it is held back by quarantines too.
std::optional<std::string> why_not_started(const CardBook& book, const std::string& service,
                                           std::uint64_t mark, bool obeys_rules);

/// Adds what the kernel's log comes to for @p device to its mark in @p marks, made where there is
/// none.
void add_standing(std::vector<CardMark>& marks, const GpuDevice& device,
                  const CardStanding& standing);
/// "cordoned by uid 0: driver update", "suspect: Xid 200: ..."; empty for one that nothing speaks
/// against.
std::string describe(const CardMark& mark);

/// A card as people name one.
struct CardName {
  std::uint32_t index = 0;
  std::string uuid;
  std::string pci;  ///< "00000000:61:00.0"; empty: not known
};
/// The place in @p cards of the one that @p text names: an index, a UUID or the beginning of one
/// ("GPU-" may be left out), a PCI id with or without its domain. Else a text for people, why not.
struct CardChoice {
  std::optional<std::size_t> at;
  std::string why_not;
};
CardChoice choose_card(const std::vector<CardName>& cards, std::string_view text);

}  // namespace gpuward
