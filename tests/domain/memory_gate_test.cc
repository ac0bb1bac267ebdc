#include "domain/memory_gate.h"

#include <gtest/gtest.h>
#include <random>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

class Card : public ::testing::Test {
 protected:
  Card() { pool.see(24_GiB, {}); }
  void look(MemoryAccount& account, Bytes held, Bytes peak) {
    now += 100ms;
    account.see({.held = held, .peak = peak, .peak_at = now}, now);
  }
  // Three jobs of 4 GiB each, one after the other.
  void teach(MemoryAccount& account, Bytes size = 1_MiB) {
    look(account, 6_GiB, 6_GiB);
    for (int i = 0; i < 3; ++i) {
      auto alone = account.reserve(size, now);
      ASSERT_TRUE(alone);
      look(account, 6_GiB, 10_GiB);
      account.see_job(size, now);
      alone->release(now);
    }
  }

  MemoryPool pool;
  Instant now = Instant{} + 1h;
};

TEST_F(Card, UnknownJobsGoOneAtATimeAndAlone) {
  MemoryAccount one(pool);
  MemoryAccount two(pool);
  look(one, 6_GiB, 6_GiB);
  auto first = one.reserve(1_MiB, now);
  ASSERT_TRUE(first);
  EXPECT_FALSE(one.reserve(1_MiB, now));
  EXPECT_FALSE(two.reserve(1_MiB, now)) << "nobody beside it";
  first->release(now);
  EXPECT_TRUE(two.reserve(1_MiB, now));
}

TEST_F(Card, AsManyAsFit) {
  MemoryAccount account(pool);
  teach(account);
  std::vector<Reservation> reserved;
  for (;;) {
    auto next = account.reserve(1_MiB, now);
    if (!next) {
      EXPECT_FALSE(next.error().never);
      break;
    }
    reserved.push_back(std::move(*next));
  }
  EXPECT_EQ(reserved.size(), 3U) << "24 - 1 - 6 = 17 GiB, 4.6 GiB each";
  reserved.clear();
  EXPECT_EQ(account.reserved().count, 0U);
  EXPECT_EQ(pool.jobs(), 0U);
}

TEST_F(Card, AReservationIsMovedNotCopied) {
  MemoryAccount account(pool);
  teach(account);
  Reservation kept;
  {
    auto made = account.reserve(1_MiB, now);
    ASSERT_TRUE(made);
    kept = std::move(*made);
  }
  EXPECT_EQ(account.jobs(), 1U);
  kept = Reservation();
  EXPECT_EQ(account.jobs(), 0U);
}

TEST_F(Card, ACacheIsFreeForItsOwnerAlone) {
  MemoryAccount one(pool);
  MemoryAccount two(pool);
  teach(one);
  look(two, 3_GiB, 3_GiB);
  look(one, 19_GiB, 19_GiB);
  auto mine = one.reserve(1_MiB, now);
  ASSERT_TRUE(mine);
  EXPECT_TRUE(one.reserve(1_MiB, now)) << "9.2 of the 13 GiB that it holds";
  EXPECT_FALSE(two.reserve(1_MiB, now));
}

// A cache that is kept looks like a peak for ever: with one job in flight it would be that job's.
TEST_F(Card, WhatDoesNotGrowIsNoPeak) {
  MemoryAccount account(pool);
  teach(account);
  auto three = account.reserve(1_MiB, now);
  look(account, 18_GiB, 18_GiB);  // caused by some burst
  const double learned = account.footprint().per_job();
  look(account, 18_GiB, 18_GiB);
  EXPECT_EQ(account.footprint().per_job(), learned);
}

// facts/gateway.md 4: paired with those in flight at the end it would be twice as much.
TEST_F(Card, APeakIsOfThoseInFlightThen) {
  MemoryAccount account(pool);
  teach(account);
  auto one = account.reserve(1_MiB, now);
  auto two = account.reserve(1_MiB, now);
  ASSERT_TRUE(one && two);
  const Instant peak_at = now += 1s;
  now += 50ms;
  two->release(now);
  now += 50ms;
  account.see({.held = 10_GiB, .peak = 14_GiB, .peak_at = peak_at}, now);
  EXPECT_EQ(account.footprint().per_job(), static_cast<double>((4_GiB).count));
}

TEST_F(Card, AnEmptyCardAdmitsOneWhateverWasLearned) {
  MemoryAccount account(pool);
  teach(account);
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    auto one = account.reserve({1 + random() % (64_MiB).count}, now);
    ASSERT_TRUE(one) << i;
    ASSERT_LE(one->bytes(), 17_GiB);
    look(account, 6_GiB, {(6_GiB).count + random() % (40_GiB).count});
    if (random() % 5 == 0) account.see_failure(1_MiB, now);
    account.see_job({1 + random() % (64_MiB).count}, now);
    if (random() % 50 == 0) pool.see(24_GiB, {random() % (30_GiB).count});
  }
}

TEST_F(Card, WhatRanOutOfMemoryAloneIsRefusedForAnHour) {
  MemoryAccount account(pool);
  teach(account);
  auto giant = account.reserve(100_MiB, now);
  ASSERT_TRUE(giant);
  account.see_failure(100_MiB, now);
  giant->release(now);
  const auto refused = account.never_fits(200_MiB, now);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->available, 17_GiB);
  EXPECT_GE(refused->needed, refused->available);
  EXPECT_FALSE(account.never_fits(50_MiB, now));
  EXPECT_FALSE(account.never_fits(1_MiB, now));
  EXPECT_FALSE(account.never_fits(200_MiB, now + 61min));
}

TEST_F(Card, WithoutFreshSamplesNothingIsForgotten) {
  MemoryAccount account(pool);
  teach(account);
  const auto before = account.footprint().need(1 << 20);
  now += 1min;
  for (int i = 0; i < 5000; ++i) account.see_job(1_MiB, now);
  EXPECT_EQ(account.footprint().need(1 << 20), before);
  EXPECT_EQ(account.footprint().jobs(), 3U);
}

TEST_F(Card, OfANewProcessNothingIsKnownBeforeTheFirstLook) {
  MemoryAccount account(pool);
  teach(account);
  account.restart();
  auto one = account.reserve(1_MiB, now);
  ASSERT_TRUE(one);
  EXPECT_FALSE(account.reserve(1_MiB, now));
  one->release(now);
  look(account, 6_GiB, 6_GiB);
  auto two = account.reserve(1_MiB, now);
  EXPECT_TRUE(account.reserve(1_MiB, now));
}

TEST(MemoryPool, WithoutNumbersKeepsNobodyOut) {
  MemoryPool pool;
  MemoryAccount account(pool);
  std::vector<Reservation> all;
  for (int i = 0; i < 100; ++i) all.push_back(*account.reserve(1_GiB, Instant{} + 1h));
  EXPECT_EQ(pool.jobs(), 100U);
}

// What is spoken for never exceeds the card by more than one job let onto an empty card did.
TEST_F(Card, TheBoundHolds) {
  MemoryAccount one(pool);
  MemoryAccount two(pool);
  look(two, 2_GiB, 2_GiB);
  teach(one);
  teach(two);
  std::mt19937_64 random(5);
  std::vector<Reservation> all;
  for (int i = 0; i < 20'000; ++i) {
    now += 10ms;
    if (!all.empty() && random() % 2 == 0) {
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(random() % all.size()));
      continue;
    }
    MemoryAccount& account = random() % 2 == 0 ? one : two;
    const Bytes before = pool.spoken_for();
    if (auto made = account.reserve({1 + random() % (3_MiB).count}, now)) {
      all.push_back(std::move(*made));
      if (pool.jobs() == 1) continue;
      ASSERT_LE(pool.spoken_for(), std::max(before, pool.total() - pool.guard()));
    }
  }
}

}  // namespace
}  // namespace gpuward
