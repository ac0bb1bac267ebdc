#include "domain/canary.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using std::chrono::seconds;

const Instant kBegin{std::chrono::hours(1)};

Canary plain() {
  Canary canary;
  canary.path = "/analyze";
  return canary;
}

Canary golden() {
  Canary canary = plain();
  canary.answer_file = "/known.json";
  return canary;
}

TEST(CanaryStatus, AServiceThatSaysItIsBusyHasNotFailed) {
  for (const std::uint32_t status : {408U, 429U, 503U, 504U})
    EXPECT_EQ(judge_status(golden(), status), CanaryResult::busy) << status;
  EXPECT_EQ(judge_status(golden(), 500), CanaryResult::failed);
  EXPECT_EQ(judge_status(plain(), 502), CanaryResult::failed);
}

TEST(CanaryStatus, AnotherStatusIsAnotherAnswerOnlyWhereOneIsKnown) {
  EXPECT_EQ(judge_status(plain(), 200), CanaryResult::right);
  EXPECT_EQ(judge_status(plain(), 302), CanaryResult::right);
  EXPECT_EQ(judge_status(plain(), 404), CanaryResult::unexpected);
  EXPECT_EQ(judge_status(golden(), 415), CanaryResult::changed);
  Canary refused = golden();
  refused.status = 415;
  EXPECT_EQ(judge_status(refused, 415), CanaryResult::right);
  EXPECT_EQ(judge_status(refused, 200), CanaryResult::changed);
}

TEST(CanaryTally, BusyAndLateBreakARowOfFailures) {
  for (const auto between : {CanaryResult::busy, CanaryResult::late, CanaryResult::unexpected}) {
    CanaryTally tally;
    note(tally, CanaryResult::failed, "", kBegin);
    note(tally, between, "", kBegin);
    EXPECT_EQ(tally.facts.failed_in_a_row, 0U) << to_string(between);
    note(tally, CanaryResult::silent, "", kBegin);
    note(tally, between, "", kBegin);
    EXPECT_EQ(tally.facts.silent_in_a_row, 0U) << to_string(between);
  }
}

TEST(CanaryTally, OnlyARightAnswerMakesAWrongOneGood) {
  CanaryTally tally;
  note(tally, CanaryResult::changed, "first difference at /a", kBegin);
  for (const auto other : {CanaryResult::busy, CanaryResult::late, CanaryResult::silent,
                           CanaryResult::failed, CanaryResult::unexpected})
    note(tally, other, "x", kBegin);
  note(tally, CanaryResult::changed, "first difference at /b", kBegin + seconds(9));
  EXPECT_EQ(tally.facts.changed_in_a_row, 2U);
  EXPECT_EQ(tally.facts.changed_where, "first difference at /b");
  EXPECT_EQ(tally.facts.last, kBegin + seconds(9));
  note(tally, CanaryResult::right, "", kBegin);
  EXPECT_EQ(tally.facts.changed_in_a_row, 0U);
  EXPECT_EQ(tally.facts.changed_where, "");
}

TEST(CanaryTally, TheLedgerIsToldWhatHoldsAndNotEachAnswer) {
  CanaryTally tally;
  EXPECT_FALSE(note(tally, CanaryResult::right, "", kBegin));  // as it should be
  EXPECT_FALSE(note(tally, CanaryResult::changed, "", kBegin));
  EXPECT_TRUE(note(tally, CanaryResult::changed, "", kBegin));
  EXPECT_FALSE(note(tally, CanaryResult::changed, "", kBegin));
  EXPECT_TRUE(note(tally, CanaryResult::right, "", kBegin));
  EXPECT_FALSE(note(tally, CanaryResult::right, "", kBegin));
}

TEST(CanaryTally, ASaturatedServiceFillsNoLedger) {
  CanaryTally tally;
  note(tally, CanaryResult::right, "", kBegin);
  for (int round = 0; round < 1000; ++round)
    for (const auto result : {CanaryResult::busy, CanaryResult::late, CanaryResult::silent,
                              CanaryResult::silent, CanaryResult::right, CanaryResult::failed})
      EXPECT_FALSE(note(tally, result, "", kBegin));
}

TEST(CanaryTally, ANewProcessStartsWithACleanSlateThatTheLedgerStillKnows) {
  CanaryTally tally;
  note(tally, CanaryResult::failed, "", kBegin);
  note(tally, CanaryResult::failed, "", kBegin);
  begin_anew(tally);
  EXPECT_EQ(tally.facts.failed_in_a_row, 0U);
  EXPECT_EQ(tally.last, CanaryResult::none);
  EXPECT_TRUE(note(tally, CanaryResult::right, "", kBegin));
}

TEST(CanaryPause, WhoIsSlowIsAskedLessOften) {
  Canary canary = plain();
  canary.every = seconds(60);
  EXPECT_EQ(pause_after(canary, seconds(1)), seconds(60));
  EXPECT_EQ(pause_after(canary, seconds(50)), seconds(200));
}

TEST(CanaryReport, IsOneSentence) {
  CanaryReport report;
  EXPECT_EQ(describe(report), "not answered yet");
  report.last = CanaryResult::right;
  report.detail = "answered 200";
  report.age_seconds = 12;
  EXPECT_EQ(describe(report), "answered 200, 12.0 s ago");
  report.trouble = "cannot read 'canary.body': No such file or directory";
  EXPECT_EQ(describe(report), "not asked: cannot read 'canary.body': No such file or directory");
}

TEST(CanaryResult, EachHasAName) {
  for (int number = 0; number <= static_cast<int>(CanaryResult::changed); ++number)
    EXPECT_NE(to_string(static_cast<CanaryResult>(number)), "unknown");
}

}  // namespace
}  // namespace gpuward
