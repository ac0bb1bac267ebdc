#include "domain/sessions.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

const Instant kStart = Instant{} + 1h;

TEST(Sessions, TheFirstJobBinds) {
  Sessions sessions;
  sessions.wait(1, {7}, kStart);
  EXPECT_FALSE(sessions.bound(1));
  EXPECT_FALSE(sessions.in_use(1));
  EXPECT_TRUE(sessions.begin(1, {3}, kStart));
  EXPECT_FALSE(sessions.begin(1, {3}, kStart));
  EXPECT_EQ(sessions.bound(1), ReplicaId{3});
  EXPECT_TRUE(sessions.in_use(1));
  sessions.end(1, kStart);
  sessions.end(1, kStart);
  EXPECT_FALSE(sessions.in_use(1));
  EXPECT_EQ(sessions.bound(1), ReplicaId{3}) << "an upload may lie there";
}

TEST(Sessions, AHoldIsUse) {
  Sessions sessions;
  sessions.hold(1, kStart);
  sessions.hold(1, kStart);
  sessions.release(1, kStart);
  EXPECT_TRUE(sessions.in_use(1));
  sessions.release(1, kStart);
  EXPECT_FALSE(sessions.in_use(1));
}

TEST(Sessions, TheIdleAreForgottenAfterAWhile) {
  Sessions sessions;
  sessions.begin(1, {0}, kStart);
  sessions.end(1, kStart);
  sessions.begin(2, {0}, kStart);
  sessions.pass_time(kStart + 9min);
  EXPECT_EQ(sessions.size(), 2U);
  sessions.pass_time(kStart + 11min);
  EXPECT_FALSE(sessions.bound(1));
  EXPECT_TRUE(sessions.bound(2)) << "it has a job in flight";
}

TEST(Sessions, OfTooManyTheLongestUnusedGoes) {
  Sessions sessions;
  for (std::uint64_t id = 1; id <= Sessions::kMost; ++id) {
    sessions.begin(id, {0}, kStart + std::chrono::milliseconds(id));
    if (id != 1) sessions.end(id, kStart + std::chrono::milliseconds(id));
  }
  sessions.begin(99'999, {0}, kStart + 1min);
  EXPECT_EQ(sessions.size(), Sessions::kMost);
  EXPECT_TRUE(sessions.bound(1)) << "in use";
  EXPECT_FALSE(sessions.bound(2));
}

}  // namespace
}  // namespace gpuward
