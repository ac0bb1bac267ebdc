#include "domain/card.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

const std::vector<CardName> kCards = {{0, "GPU-aaaa1111-0", "00000000:61:00.0"},
                                      {1, "GPU-aaaa2222-0", "00000001:61:00.0"},
                                      {12, "GPU-bbbb3333-0", ""}};

std::optional<std::size_t> chosen(std::string_view text) {
  return choose_card(kCards, text).at;
}

TEST(ChooseCard, ByIndexUuidOrPciId) {
  EXPECT_EQ(chosen("0"), 0U);
  EXPECT_EQ(chosen("12"), 2U);
  EXPECT_EQ(chosen("GPU-aaaa2222-0"), 1U);
  EXPECT_EQ(chosen("gpu-bbbb"), 2U);
  EXPECT_EQ(chosen("bbbb3"), 2U);
  EXPECT_EQ(chosen("61:00.0"), 0U);
  EXPECT_EQ(chosen("0000:61:00.0"), 0U);
  EXPECT_EQ(chosen("0001:61:00.0"), 1U);
}

TEST(ChooseCard, SaysWhyNot) {
  EXPECT_EQ(choose_card(kCards, "aaaa").why_not, "more than one card begins with 'aaaa'");
  EXPECT_EQ(choose_card({kCards[0]}, "3").why_not,
            "no card '3' is seen; there is 0 (GPU-aaaa1111-0)");
  EXPECT_EQ(choose_card({}, "0").why_not, "no card '0' is seen; there are none");
  for (const char* text : {"", "GPU-", "gpu", "1x", ":", "0000:62:00.0", "99999999999999999999"})
    EXPECT_FALSE(chosen(text)) << text;
}

GpuDevice device(GpuState state) {
  GpuDevice card;
  card.uuid = "GPU-a";
  card.index = 1;
  card.state = state;
  return card;
}

TEST(Quarantine, IsByTheDriversWordAndNotByALateAnswer) {
  EXPECT_EQ(finding_of(device(GpuState::lost))->remedy, CardRemedy::reboot);
  EXPECT_EQ(finding_of(device(GpuState::reset_required))->remedy, CardRemedy::reset);
  for (const auto state : {GpuState::ok, GpuState::suspect, GpuState::unreadable})
    EXPECT_FALSE(finding_of(device(state)));
}

TEST(Quarantine, AnXidNamesWhatMendsIt) {
  XidJudgement judged;
  judged.action = XidAction::reset_card;
  judged.sentence = "the card needs a reset";
  const auto finding = finding_of(judged, 95);
  EXPECT_EQ(finding.remedy, CardRemedy::reset);
  EXPECT_EQ(finding.rule, "Xid 95");
  judged.action = XidAction::reboot_host;
  EXPECT_EQ(finding_of(judged, 79).remedy, CardRemedy::reboot);
  judged.action = XidAction::replace_card;
  EXPECT_EQ(finding_of(judged, 64).remedy, CardRemedy::replace);
}

TEST(Quarantine, EndsByABootWhereThatMendsIt) {
  CardMark mark;
  ASSERT_TRUE(quarantine(mark, {CardRemedy::reset, "rule", "evidence"}, 1000, "boot 1"));
  EXPECT_FALSE(quarantine(mark, {CardRemedy::reset, "rule", "evidence"}, 2000, "boot 1"));
  EXPECT_FALSE(end_by_boot(mark, "boot 1"));
  EXPECT_FALSE(end_by_boot(mark, "")) << "a boot without an id is none";
  EXPECT_TRUE(end_by_boot(mark, "boot 2"));
  EXPECT_FALSE(mark.quarantined);
}

TEST(Quarantine, WhatComesBackTakesTheNextStep) {
  CardMark mark;
  const CardFinding reset{CardRemedy::reset, "rule", "evidence"};
  constexpr std::int64_t kHour = 3'600'000;
  ASSERT_TRUE(quarantine(mark, reset, 0, "1"));
  ASSERT_TRUE(end_by_boot(mark, "2"));
  ASSERT_TRUE(quarantine(mark, reset, kHour, "2"));
  EXPECT_EQ(mark.remedy, CardRemedy::reboot);
  ASSERT_TRUE(end_by_boot(mark, "3"));
  ASSERT_TRUE(quarantine(mark, reset, 2 * kHour, "3"));
  EXPECT_EQ(mark.remedy, CardRemedy::replace);
  EXPECT_FALSE(end_by_boot(mark, "4")) << "no boot mends that";
  CardMark later;
  ASSERT_TRUE(quarantine(later, reset, 0, "1"));
  ASSERT_TRUE(end_by_boot(later, "2"));
  ASSERT_TRUE(quarantine(later, reset, 25 * kHour, "2"));
  EXPECT_EQ(later.remedy, CardRemedy::reset);
}

XidIncident heard(std::uint32_t xid, XidAction action, Instant last) {
  XidIncident incident;
  incident.line.number = xid;
  incident.first = incident.last = last;
  incident.judged.action = action;
  incident.judged.consequence = CardConsequence::quarantine;
  return incident;
}

TEST(Quarantine, TheWorstThatTheLogToldOfTheCardCounts) {
  const Instant then{std::chrono::hours(9)};
  std::vector<XidIncident> all{heard(79, XidAction::reboot_host, then),
                               heard(95, XidAction::reset_card, then)};
  EXPECT_EQ(finding_of(all, nullptr, "1")->rule, "Xid 79");
  all.front().judged.consequence = CardConsequence::none;
  EXPECT_EQ(finding_of(all, nullptr, "1")->rule, "Xid 95");
  EXPECT_FALSE(finding_of({}, nullptr, "1"));
}

TEST(Quarantine, WhatWasSaidBeforeAPersonCalledTheCardWellIsOver) {
  const Instant then{std::chrono::hours(9)};
  const std::vector<XidIncident> all{heard(79, XidAction::reboot_host, then)};
  CardMark mark;
  ASSERT_TRUE(quarantine(mark, *finding_of(all, nullptr, "1"), 1, "1"));
  lift(mark, then + std::chrono::seconds(5), "1");
  EXPECT_FALSE(mark.quarantined);
  EXPECT_FALSE(finding_of(all, &mark, "1"));
  EXPECT_TRUE(finding_of(all, &mark, "2")) << "it was said in a later boot";
  const std::vector<XidIncident> later{
      heard(79, XidAction::reboot_host, then + kLogClockSlack * 2)};
  EXPECT_TRUE(finding_of(later, &mark, "1"));
  CardBook book;
  book.marks.push_back(mark);
  book.marks.front().remedy = CardRemedy::none;
  tidy(book);
  EXPECT_EQ(book.marks.size(), 1U) << "else the log would say it again to the next warden";
}

TEST(WhyNotStarted, WhatWasOnACordonedCardWaits) {
  CardBook book;
  remember(book, "xray", 7, {"GPU-a"});
  EXPECT_FALSE(why_not_started(book, "xray", 7, true));
  auto& mark = mark_of(book, device(GpuState::ok));
  mark.cordoned = true;
  mark.cordoned_by = "uid 0";
  mark.cordoned_why = "driver update";
  EXPECT_EQ(why_not_started(book, "xray", 7, false),
            "it was on GPU 1 (GPU-a) when it ran last, and that card is cordoned by uid 0: driver "
            "update; gpuward uncordon 1, or gpuward start --anyway xray");
  EXPECT_FALSE(why_not_started(book, "xray", 8, true)) << "it may choose another card now";
  EXPECT_FALSE(why_not_started(book, "other", 7, true));
}

// harm.md 6: a rule holds nothing back unless "act" is written.
TEST(WhyNotStarted, AQuarantineHoldsOnlyThoseWhoAskedForIt) {
  CardBook book;
  remember(book, "xray", 7, {"GPU-a"});
  quarantine(mark_of(book, device(GpuState::lost)), {CardRemedy::reboot, "r", "e"}, 1, "b");
  EXPECT_TRUE(why_not_started(book, "xray", 7, true));
  EXPECT_FALSE(why_not_started(book, "xray", 7, false));
}

TEST(CardBook, IsBounded) {
  CardBook book;
  for (int n = 0; n < 1000; ++n) {
    auto card = device(GpuState::ok);
    card.uuid = "GPU-" + std::to_string(n);
    mark_of(book, card).cordoned = true;
  }
  EXPECT_EQ(book.marks.size(), kMostMarks);
  for (int n = 0; n < 5000; ++n) remember(book, "s" + std::to_string(n), 1, {});
  EXPECT_EQ(book.services.size(), kMostCardServices);
}

TEST(CardBook, TidyingKeepsWhatHadTrouble) {
  CardBook book;
  mark_of(book, device(GpuState::ok));
  tidy(book);
  EXPECT_TRUE(book.marks.empty());
  auto& mark = mark_of(book, device(GpuState::ok));
  quarantine(mark, {CardRemedy::reset, "r", "e"}, 1, "1");
  end_by_boot(mark, "2");
  tidy(book);
  EXPECT_EQ(book.marks.size(), 1U);
}

TEST(CardMark, WhatTheLogComesToIsSaidOfACardThatIsUsedOn) {
  GpuDevice device;
  device.uuid = "GPU-a";
  device.index = 3;
  std::vector<CardMark> marks;
  add_standing(marks, device, {});
  EXPECT_TRUE(marks.empty());
  CardStanding standing;
  standing.consequence = CardConsequence::suspect;
  standing.why = "Xid 200: look it up";
  add_standing(marks, device, standing);
  ASSERT_EQ(marks.size(), 1U);
  EXPECT_EQ(marks[0].index, 3U);
  EXPECT_EQ(describe(marks[0]), "suspect: Xid 200: look it up");
  marks[0].cordoned = true;
  add_standing(marks, device, standing);
  ASSERT_EQ(marks.size(), 1U);
  EXPECT_EQ(describe(marks[0]), "suspect: Xid 200: look it up; cordoned");
}

}  // namespace
}  // namespace gpuward
