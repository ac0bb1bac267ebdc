#include "domain/job.h"

#include <gtest/gtest.h>
#include <set>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

constexpr RetryFacts kAll{.replica_failed = true,
                          .nothing_answered = true,
                          .not_started = true,
                          .replayable = true,
                          .client_waits = true};

TEST(Retry, OnceAndOnlyWhereNothingCanHappenTwice) {
  EXPECT_TRUE(may_retry(kAll));
  for (bool RetryFacts::* fact :
       {&RetryFacts::replica_failed, &RetryFacts::nothing_answered, &RetryFacts::not_started,
        &RetryFacts::replayable, &RetryFacts::client_waits}) {
    RetryFacts facts = kAll;
    facts.*fact = false;
    EXPECT_FALSE(may_retry(facts));
  }
  RetryFacts again = kAll;
  again.tries = 2;
  EXPECT_FALSE(may_retry(again));
}

TEST(Refusal, SaysTheNumbers) {
  EXPECT_EQ(describe({.reason = RefusalReason::queue_full, .waiting = 200, .limit = 200}),
            "the queue is full: 200 jobs wait, 200 may");
  EXPECT_EQ(
      describe({.reason = RefusalReason::cannot_finish, .eta = 90s, .service = 4s, .left = 60s}),
      "cannot finish in time: it would start in 1 min 30 s and take 4.0 s, with 1 min left");
  EXPECT_EQ(
      describe({.reason = RefusalReason::does_not_fit_gpu, .needed = 30_GiB, .available = 17_GiB}),
      "needs 30.0 GiB of GPU memory; with nothing else there, 17.0 GiB are free");
}

TEST(Refusal, EveryReasonHasANameASentenceAndAStatus) {
  std::set<std::string_view> names;
  for (int at = 0; at <= static_cast<int>(RefusalReason::shutting_down); ++at) {
    const auto reason = static_cast<RefusalReason>(at);
    EXPECT_TRUE(names.insert(name(reason)).second) << at;
    EXPECT_NE(describe({.reason = reason}), "refused");
    EXPECT_GE(http_status(reason), 413);
  }
  EXPECT_EQ(http_status(RefusalReason::over_quota), 429);
  EXPECT_EQ(http_status(RefusalReason::does_not_fit_host), 413);
  EXPECT_EQ(http_status(RefusalReason::too_late), 504);
}

TEST(Refusal, ThoseRefusedTogetherDoNotComeBackTogether) {
  std::set<std::int64_t> seconds;
  for (std::uint64_t salt = 1; salt <= 100; ++salt) {
    const auto wait = retry_after(100s, salt);
    EXPECT_GE(wait, 100s);
    EXPECT_LE(wait, 120s);
    seconds.insert(wait.count());
  }
  EXPECT_GE(seconds.size(), 15U);
  EXPECT_GE(retry_after(0s, 1), 1s);
  EXPECT_EQ(retry_after(100h, 1), 3600s);
}

}  // namespace
}  // namespace gpuward
