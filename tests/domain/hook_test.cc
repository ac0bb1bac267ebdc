#include "domain/hook.h"

#include <algorithm>
#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

HookNews news(std::string event) {
  return {std::move(event), "HEALTHY", "", 0};
}
const Instant kBegin{Instant::duration(1h)};

TEST(HookNames, AreEventsOfServicesAndVerdicts) {
  const auto names = hook_names();
  const auto has = [&](std::string_view name) {
    return std::ranges::find(names, name) != names.end();
  };
  EXPECT_TRUE(has("failed") && has("ready") && has("would-restart") && has("FAILED"));
  EXPECT_FALSE(has("hook") || has("hook-done") || has("warden-began") || has("unknown"));
}

TEST(HookQueue, RunsOneAtATimeInOrder) {
  HookQueue queue;
  EXPECT_TRUE(queue.add(news("failed"), kBegin));
  EXPECT_TRUE(queue.add(news("ended"), kBegin));
  EXPECT_EQ(queue.next(kBegin)->news.event, "failed");
  EXPECT_FALSE(queue.next(kBegin));
  queue.ended();
  EXPECT_EQ(queue.next(kBegin)->news.event, "ended");
  queue.ended();
  EXPECT_FALSE(queue.next(kBegin));
}

TEST(HookQueue, CountsTheSameWithinAMinute) {
  HookQueue queue;
  ASSERT_TRUE(queue.add(news("failed"), kBegin));
  EXPECT_EQ(queue.next(kBegin)->counted, 0U);
  queue.ended();
  for (int n = 0; n < 999; ++n) EXPECT_FALSE(queue.add(news("failed"), kBegin + n * 60ms));
  EXPECT_FALSE(queue.next(kBegin + 59s));
  ASSERT_TRUE(queue.add(news("failed"), kBegin + 60s));
  EXPECT_EQ(queue.next(kBegin + 60s)->counted, 999U);
}

TEST(HookQueue, TheLastOfAStormIsRunWhenItIsOver) {
  HookQueue queue;
  queue.add(news("failed"), kBegin);
  queue.next(kBegin);
  queue.ended();
  EXPECT_EQ(queue.next_due(), Instant::max());
  for (int n = 1; n <= 10; ++n) {
    HookNews one = news("failed");
    one.sentence = std::to_string(n);
    EXPECT_FALSE(queue.add(one, kBegin + n * 1s));
  }
  EXPECT_EQ(queue.next_due(), kBegin + 60s);
  EXPECT_FALSE(queue.next(kBegin + 59s));
  const auto last = queue.next(kBegin + 60s);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->news.sentence, "10");
  EXPECT_EQ(last->counted, 9U);
  queue.ended();
  EXPECT_EQ(queue.next_due(), Instant::max());
  EXPECT_FALSE(queue.next(kBegin + 1h));
}

TEST(HookQueue, KeepsOneOfEachNameWaiting) {
  HookQueue queue;
  for (int n = 0; n < 1000; ++n) queue.add(news(n % 2 == 0 ? "failed" : "ended"), kBegin);
  int runs = 0;
  while (queue.next(kBegin)) queue.ended(), ++runs;
  EXPECT_EQ(runs, 2);
}

TEST(HookQueue, ForgetsHooksThatAreGone) {
  HookQueue queue;
  queue.add(news("failed"), kBegin);
  queue.keep_only({"ended"});
  EXPECT_FALSE(queue.next(kBegin));
  EXPECT_TRUE(queue.add(news("failed"), kBegin)) << "as one that was never seen";
}

}  // namespace
}  // namespace gpuward
