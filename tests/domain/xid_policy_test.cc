#include "domain/xid_policy.h"

#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

constexpr PciAddress kCard{0, 0x61, 0};
constexpr PciAddress kOther{0, 0x62, 0};
constexpr Instant kBegin{std::chrono::hours(1000)};

XidLine line_of(std::uint32_t number, std::optional<std::uint32_t> pid = 4711,
                PciAddress card = kCard) {
  XidLine line;
  line.card = card;
  line.number = number;
  line.pid = pid;
  if (pid) line.process = "python";
  return line;
}

XidFacts at(Duration after, std::string service = "xray") {
  XidFacts facts;
  facts.at = kBegin + after;
  facts.service = std::move(service);
  return facts;
}

XidJudgement alone(std::uint32_t number, std::string service = "xray") {
  return judge(XidHistory(), line_of(number), at(0s, std::move(service)));
}

struct Row {
  std::vector<std::uint32_t> numbers;
  XidClass xid_class;
  XidAction first;
  CardConsequence consequence;
};

std::vector<std::uint32_t> span(std::uint32_t first, std::uint32_t last) {
  std::vector<std::uint32_t> all;
  for (auto n = first; n <= last; ++n) all.push_back(n);
  return all;
}

std::vector<std::uint32_t> operator+(std::vector<std::uint32_t> a,
                                     const std::vector<std::uint32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The rows of the policy table, each number of it.
std::vector<Row> table() {
  using enum XidClass;
  using enum XidAction;
  return {
      {std::vector<std::uint32_t>{8, 11, 13, 25, 31, 32} + span(39, 41) + span(68, 72) +
           span(75, 77) + span(82, 86) + span(96, 105) + span(126, 135) +
           std::vector<std::uint32_t>{60, 80, 88, 89, 139},
       app, restart_service, CardConsequence::none},
      {{109}, app, restart_service, CardConsequence::none},  // at first
      {{94}, app_contained, restart_service, CardConsequence::none},
      {{43, 45}, follow_on, restart_service, CardConsequence::none},  // alone, of one that lives on
      {{46, 62, 64, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158},
       XidClass::reset,
       reset_card,
       CardConsequence::quarantine},
      {{79, 151}, reboot, reboot_host, CardConsequence::quarantine},
      {{54}, reboot, check_card, CardConsequence::quarantine},
      {{48}, memory, reset_card, CardConsequence::quarantine},
      {{63}, memory, reset_when_idle, CardConsequence::none},
      {{92, 171, 172, 157}, memory, watch, CardConsequence::none},
      {std::vector<std::uint32_t>{74, 137, 121, 173} + span(144, 150), link, watch,
       CardConsequence::none},
      {{154}, advice, read_advice, CardConsequence::none},
      {std::vector<std::uint32_t>{37, 38, 44, 66, 67, 93, 106, 107, 141, 152, 153} + span(160, 165),
       info, XidAction::none, CardConsequence::none},
  };
}

TEST(XidPolicy, EachNumberOfEachRow) {
  std::set<std::uint32_t> listed;
  for (const auto& row : table()) {
    for (const auto number : row.numbers) {
      listed.insert(number);
      const auto judged = alone(number);
      EXPECT_EQ(judged.xid_class, row.xid_class) << number;
      EXPECT_EQ(judged.action, row.first) << number;
      EXPECT_EQ(judged.consequence, row.consequence) << number;
      EXPECT_NE(judged.sentence.find("Xid " + std::to_string(number)), std::string::npos);
      EXPECT_NE(judged.sentence.find(": "), std::string::npos) << judged.sentence;
    }
  }
  // Every other number: looked up by a person, nothing by itself.
  for (std::uint32_t number = 0; number < 400; ++number) {
    if (listed.contains(number)) continue;
    const auto judged = alone(number);
    EXPECT_EQ(judged.xid_class, XidClass::unlisted) << number;
    EXPECT_EQ(judged.action, XidAction::check_card) << number;
    EXPECT_EQ(judged.consequence, CardConsequence::suspect) << number;
    EXPECT_FALSE(judged.victim) << number;
  }
}

TEST(XidPolicy, TheSentenceNamesWhoAndWhat) {
  EXPECT_EQ(alone(13).sentence,
            "Xid 13, an exception in a kernel, of python (pid 4711) of 'xray': its context on the "
            "card is lost; restart the service");
  EXPECT_EQ(judge(XidHistory(), line_of(79, std::nullopt), at(0s, "")).sentence,
            "Xid 79, the card has fallen off the bus: nothing can use it until the host is "
            "rebooted; run its services elsewhere");
  EXPECT_EQ(alone(68).sentence,
            "Xid 68 of python (pid 4711) of 'xray': its context on the card is lost; restart the "
            "service");
}

TEST(XidPolicy, AStrangerIsNamedAndLeftAlone) {
  const auto judged = alone(13, "");
  EXPECT_EQ(judged.action, XidAction::report_stranger);
  EXPECT_EQ(judged.victim, 4711U);
}

TEST(XidPolicy, WithoutAPidNobodyIsRestarted) {
  const auto judged = judge(XidHistory(), line_of(13, std::nullopt), at(0s, ""));
  EXPECT_EQ(judged.action, XidAction::watch);
  EXPECT_FALSE(judged.victim);
}

TEST(XidPolicy, AnEchoBelongsToItsNeighbour) {
  XidHistory history;
  history.add(line_of(13), at(0s));
  const auto echo = history.add(line_of(43), at(100ms)).judged;
  EXPECT_EQ(echo.cause, 13U);
  EXPECT_EQ(echo.action, XidAction::none) << "what 13 asks for holds";
  EXPECT_EQ(echo.victim, 4711U);
  // One that did not name its process is explained by the echo, which does.
  XidHistory unnamed;
  unnamed.add(line_of(31, std::nullopt), at(0s, ""));
  EXPECT_EQ(judge(unnamed, line_of(45), at(1s)).action, XidAction::restart_service);
  EXPECT_EQ(judge(unnamed, line_of(45), at(1s)).cause, 31U);
  // The fault of another process is not its cause, nor one on another card, nor an old one.
  EXPECT_EQ(judge(history, line_of(45, 99), at(1s, "other")).cause, 0U);
  EXPECT_EQ(judge(history, line_of(45, 4711, kOther), at(1s)).cause, 0U);
  EXPECT_EQ(judge(history, line_of(45), at(11s)).cause, 0U);
}

TEST(XidPolicy, AnEchoOfTheWholeCardHitsEveryProcess) {
  XidHistory history;
  history.add(line_of(119, std::nullopt), at(0s, ""));
  const auto echo = judge(history, line_of(45, 99), at(1s, "other"));
  EXPECT_EQ(echo.cause, 119U);
  EXPECT_EQ(echo.action, XidAction::none);
  EXPECT_EQ(echo.victim, 99U);
}

TEST(XidPolicy, AnEchoThatNamesItsCauseIsBelieved) {
  auto line = line_of(45);
  line.caused_by = 149;
  const auto judged = judge(XidHistory(), line, at(0s));
  EXPECT_EQ(judged.cause, 149U);
  EXPECT_EQ(judged.action, XidAction::restart_service) << "a link's error ends those that use it";
}

TEST(XidPolicy, AnEchoOfOurOwnEndIsIgnored) {
  auto facts = at(100s);
  facts.tree_ended = facts.at - 2s;
  const auto judged = judge(XidHistory(), line_of(45), facts);
  EXPECT_EQ(judged.action, XidAction::none);
  EXPECT_FALSE(judged.victim);
  facts.tree_ended = facts.at - 11s;  // long ago: this one means something
  EXPECT_EQ(judge(XidHistory(), line_of(45), facts).action, XidAction::restart_service);
  // But no other Xid is excused by it.
  facts.tree_ended = facts.at;
  EXPECT_EQ(judge(XidHistory(), line_of(13), facts).action, XidAction::restart_service);
}

TEST(XidPolicy, AnEchoOfNobodyHereIsNoise) {
  EXPECT_EQ(alone(45, "").action, XidAction::none);
  EXPECT_EQ(alone(45, "").consequence, CardConsequence::none);
}

// The device plugin calls 109 a mistake of the application, NVIDIA's catalogue resets the card.
TEST(XidPolicy, ATimeoutIsTheServicesOnceAndTheCardsTwiceInAnHour) {
  XidHistory history;
  EXPECT_EQ(history.add(line_of(109), at(0s)).judged.action, XidAction::restart_service);
  // The same trouble, told by another process of the same service.
  EXPECT_EQ(judge(history, line_of(109, 4712), at(5s)).action, XidAction::restart_service);
  // Another service at once, or the same one later.
  EXPECT_EQ(judge(history, line_of(109, 99), at(5s, "other")).action, XidAction::reset_card);
  const auto second = judge(history, line_of(109, 4800), at(59min));
  EXPECT_EQ(second.action, XidAction::reset_card);
  EXPECT_EQ(second.consequence, CardConsequence::quarantine);
  EXPECT_EQ(second.xid_class, XidClass::reset);
  EXPECT_EQ(judge(history, line_of(109, 4800), at(61min)).action, XidAction::restart_service);
}

TEST(XidPolicy, ThreeServicesHitBy13Or31MakeTheCardSuspect) {
  XidHistory history;
  history.add(line_of(13, 1001), at(0s, "a"));
  history.add(line_of(13, 1002), at(1h, "a"));
  history.add(line_of(31, 1003), at(2h, "b"));
  EXPECT_EQ(history.standing(kCard).consequence, CardConsequence::none);
  EXPECT_EQ(judge(history, line_of(13, 1004), at(3h, "b")).consequence, CardConsequence::none);
  EXPECT_EQ(judge(history, line_of(8, 1004), at(3h, "c")).consequence, CardConsequence::none);
  EXPECT_EQ(judge(history, line_of(13, 1004, kOther), at(3h, "c")).consequence,
            CardConsequence::none);
  EXPECT_EQ(judge(history, line_of(13, 1004), at(26h, "c")).consequence, CardConsequence::none)
      << "that of 'a' was more than a day ago";
  const auto judged = history.add(line_of(31, 1004), at(3h, "c")).judged;
  EXPECT_EQ(judged.consequence, CardConsequence::suspect);
  EXPECT_EQ(judged.action, XidAction::check_card);
  EXPECT_EQ(judged.victim, 1004U) << "and the service that was hit is hit all the same";
  EXPECT_EQ(history.standing(kCard).consequence, CardConsequence::suspect);
}

TEST(XidPolicy, AContainedErrorHitsItsVictimAloneAndAsksForAResetWhenItComesAgain) {
  XidHistory history;
  const auto first = history.add(line_of(94), at(0s)).judged;
  EXPECT_EQ(first.victim, 4711U);
  EXPECT_EQ(first.consequence, CardConsequence::none) << "other tenants live on";
  const auto again = judge(history, line_of(94, 99), at(1h, "other"));
  EXPECT_EQ(again.action, XidAction::reset_when_idle);
  EXPECT_EQ(again.victim, 99U);
  EXPECT_EQ(again.consequence, CardConsequence::suspect);
}

TEST(XidPolicy, ResetThenRebootThenHardware) {
  XidHistory history;
  EXPECT_EQ(history.add(line_of(119), at(0s)).judged.action, XidAction::reset_card);
  // A storm is one trouble.
  for (int n = 1; n < 100; ++n)
    EXPECT_EQ(history.add(line_of(119, 5000 + n), at(n * 6s)).judged.action, XidAction::reset_card);
  EXPECT_EQ(history.add(line_of(119), at(2h)).judged.action, XidAction::reboot_host);
  EXPECT_EQ(history.add(line_of(119), at(4h)).judged.action, XidAction::replace_card);
  EXPECT_EQ(judge(history, line_of(120), at(4h)).action, XidAction::reset_card) << "another number";
  EXPECT_EQ(judge(history, line_of(119), at(29h)).action, XidAction::reset_card);
}

TEST(XidPolicy, OffTheBusAgainIsForTheMakerAndARemapThatFailedToo) {
  for (const std::uint32_t number : {79U, 64U}) {
    XidHistory history;
    history.add(line_of(number), at(0s));
    EXPECT_EQ(judge(history, line_of(number), at(2h)).action, XidAction::replace_card) << number;
  }
}

TEST(XidPolicy, MemoryAndLinkAgain) {
  XidHistory history;
  history.add(line_of(48), at(0s));
  EXPECT_EQ(judge(history, line_of(48), at(2h)).action, XidAction::check_card);
  history.add(line_of(63), at(0s));
  EXPECT_EQ(judge(history, line_of(63), at(2h)).action, XidAction::reset_when_idle);
  history.add(line_of(74), at(0s));
  EXPECT_EQ(judge(history, line_of(74), at(2h)).action, XidAction::inspect_link);
  EXPECT_EQ(judge(history, line_of(74), at(2h)).consequence, CardConsequence::none)
      << "services on one card run on";
}

TEST(XidPolicy, AdviceIsReadFromTheLineWhereItStandsThere) {
  auto line = line_of(154, std::nullopt);
  EXPECT_NE(judge(XidHistory(), line, at(0s, "")).sentence.find("GPU Recovery Action"),
            std::string::npos);
  line.recovery = 2;
  EXPECT_EQ(judge(XidHistory(), line, at(0s, "")).sentence,
            "Xid 154, the driver's advice has changed: it is now: reboot the host");
}

TEST(XidHistory, FoldsWhatIsSaidAgain) {
  XidHistory history;
  for (int n = 0; n < 1000; ++n) history.add(line_of(31), at(n * 10ms));
  ASSERT_EQ(history.of_card(kCard).size(), 1U);
  EXPECT_EQ(history.of_card(kCard)[0].times, 1000U);
  history.add(line_of(31), at(10s + 61s));
  EXPECT_EQ(history.of_card(kCard).size(), 2U);
}

TEST(XidHistory, IsBounded) {
  XidHistory history;
  for (std::uint32_t n = 0; n < 1000; ++n) {
    history.add(line_of(13, n + 1), at(1ms * n));
    history.add(line_of(13, 1, PciAddress{n, 1, 0}), at(1ms * n));
    history.add_off_bus(std::nullopt, kBegin + 61s * n);
  }
  EXPECT_LE(history.cards().size(), XidHistory::kMostCards);
  EXPECT_LE(history.of_unknown_card().size(), XidHistory::kMostPerCard);
  for (const auto& card : history.cards())
    EXPECT_LE(history.of_card(card).size(), XidHistory::kMostPerCard);
}

TEST(XidHistory, EchoesDoNotPushOutWhatTheyAreEchoesOf) {
  XidHistory history;
  history.add(line_of(94), at(0s));
  history.add(line_of(48, std::nullopt), at(1s, ""));
  history.add(line_of(13, 7), at(2s));
  for (std::uint32_t n = 0; n < 1000; ++n) {
    const auto& echo = history.add(line_of(45, 10'000 + n), at(3s + 1ms * n, ""));
    EXPECT_EQ(echo.line.pid, 10'000 + n) << "the newest is kept";
  }
  std::set<std::uint32_t> kept;
  for (const auto& incident : history.of_card(kCard)) kept.insert(incident.line.number);
  EXPECT_EQ(kept, (std::set<std::uint32_t>{13, 45, 48, 94}));
  EXPECT_LE(history.of_card(kCard).size(), XidHistory::kMostPerCard);
  EXPECT_EQ(judge(history, line_of(94), at(1h)).action, XidAction::reset_when_idle)
      << "not the first within a day";
  EXPECT_EQ(judge(history, line_of(48, std::nullopt), at(1h)).action, XidAction::check_card);
}

TEST(XidHistory, WhatIsToldWithAndWithoutAPidIsOneIncident) {
  XidHistory history;
  history.add(line_of(31), at(0s));
  EXPECT_EQ(history.add(line_of(31, std::nullopt), at(1s, "")).times, 2U);
  ASSERT_EQ(history.of_card(kCard).size(), 1U);
  EXPECT_EQ(history.of_card(kCard)[0].line.pid, 4711U);
  EXPECT_EQ(history.of_card(kCard)[0].service, "xray");
  // The other way round the process is learned.
  EXPECT_EQ(history.add(line_of(31, std::nullopt, kOther), at(0s, "")).judged.action,
            XidAction::watch);
  const auto& named = history.add(line_of(31, 4711, kOther), at(1s));
  EXPECT_EQ(named.times, 2U);
  EXPECT_EQ(named.service, "xray");
  EXPECT_EQ(named.judged.victim, 4711U);
  EXPECT_EQ(named.judged.action, XidAction::restart_service);
  EXPECT_EQ(history.of_service("xray").size(), 2U);
  // Two that are named are two.
  history.add(line_of(31, 99, kOther), at(2s));
  EXPECT_EQ(history.of_card(kOther).size(), 2U);
}

TEST(XidHistory, QuarantineStaysUntilItIsClearedAndSuspicionFades) {
  XidHistory history;
  history.add(line_of(79), at(0s));
  history.add(line_of(200, 1, kOther), at(0s));
  EXPECT_EQ(history.standing(kCard).consequence, CardConsequence::quarantine);
  EXPECT_EQ(history.standing(kOther).consequence, CardConsequence::suspect);
  EXPECT_EQ(history.standing(kOther).since, kBegin);
  history.forget_old(kBegin + 23h);
  EXPECT_EQ(history.standing(kOther).consequence, CardConsequence::suspect);
  history.forget_old(kBegin + 25h);
  EXPECT_TRUE(history.of_card(kCard).empty());
  EXPECT_EQ(history.standing(kCard).consequence, CardConsequence::quarantine);
  EXPECT_EQ(history.standing(kOther).consequence, CardConsequence::none);
  history.clear(kCard);
  EXPECT_EQ(history.standing(kCard).consequence, CardConsequence::none);
}

TEST(XidHistory, AMilderOneDoesNotLiftWhatACardHasComeTo) {
  XidHistory history;
  history.add(line_of(48), at(0s));
  const auto why = history.standing(kCard).why;
  history.add(line_of(13), at(1s));
  history.add(line_of(200), at(1s));
  EXPECT_EQ(history.standing(kCard).consequence, CardConsequence::quarantine);
  EXPECT_EQ(history.standing(kCard).why, why);
}

TEST(XidHistory, WordsAndNumberOfOneCardAreOneIncident) {
  XidHistory history;
  history.add(line_of(79, 1), at(0s));
  EXPECT_EQ(history.add_off_bus(kCard, kBegin + 1s).times, 2U);
  EXPECT_EQ(history.of_card(kCard).size(), 1U);
  const auto& words = history.add_off_bus(kOther, kBegin + 1s);
  EXPECT_TRUE(words.off_bus_text);
  EXPECT_EQ(words.judged.consequence, CardConsequence::quarantine);
  EXPECT_EQ(history.standing(kOther).consequence, CardConsequence::quarantine);
}

TEST(XidHistory, TellsWhatHitAService) {
  XidHistory history;
  history.add(line_of(31, 1, kOther), at(2s, "a"));
  history.add(line_of(13, 1), at(1s, "a"));
  history.add(line_of(13, 2), at(1s, "b"));
  const auto hits = history.of_service("a");
  ASSERT_EQ(hits.size(), 2U);
  EXPECT_EQ(hits[0]->line.number, 13U);
  EXPECT_EQ(hits[1]->line.number, 31U);
}

// Whatever is said in whatever order: nobody but a service of ours is ever restarted, nobody
// without a pid is a victim, a card that is quarantined stays so, and the same is said of the same.
TEST(XidPolicyProperty, HoldsForRandomHistories) {
  std::mt19937 random(20261127);
  const auto pick = [&](int below) {
    return static_cast<int>(random() % static_cast<unsigned>(below));
  };
  for (int round = 0; round < 300; ++round) {
    XidHistory history;
    Instant now = kBegin;
    std::map<PciAddress, CardConsequence> worst;
    for (int n = 0; n < 60; ++n) {
      now += std::chrono::milliseconds(pick(pick(10) == 0 ? 7'200'000 : 20'000));
      XidLine line = line_of(static_cast<std::uint32_t>(pick(180)), std::nullopt,
                             pick(2) == 0 ? kCard : kOther);
      if (pick(4) != 0) line.pid = 1 + pick(5);
      if (pick(10) == 0) line.caused_by = static_cast<std::uint32_t>(pick(180));
      XidFacts facts;
      facts.at = now;
      if (line.pid && pick(3) != 0)
        facts.service = std::string(1, static_cast<char>('a' + pick(4)));
      if (pick(5) == 0) facts.tree_ended = now - std::chrono::seconds(pick(20));
      const auto judged = judge(history, line, facts);
      EXPECT_EQ(judged.sentence, judge(history, line, facts).sentence);
      if (judged.action == XidAction::restart_service) {
        EXPECT_TRUE(judged.victim);
        EXPECT_FALSE(facts.service.empty());
      }
      if (judged.victim) {
        EXPECT_EQ(judged.victim, line.pid);
      }
      if (judged.xid_class == XidClass::unlisted || judged.xid_class == XidClass::info) {
        EXPECT_FALSE(judged.victim);
      }
      EXPECT_FALSE(judged.sentence.empty());
      EXPECT_FALSE(judged.sentence.ends_with('.'));
      const auto& kept = history.add(line, facts);
      if (kept.times == 1) {
        EXPECT_EQ(kept.judged.sentence, judged.sentence);
      }
      auto& bad = worst[line.card];
      const auto standing = history.standing(line.card).consequence;
      EXPECT_GE(standing, bad) << "time alone was not asked to pass";
      EXPECT_GE(standing, kept.judged.consequence);
      bad = standing;
    }
  }
}

}  // namespace
}  // namespace gpuward
