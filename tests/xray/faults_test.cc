#include "xray/faults.h"

#include <gtest/gtest.h>

#include "xray/options.h"

namespace gpuward::xray {
namespace {

using namespace std::chrono_literals;

TEST(Faults, TheSameSeedGivesTheSameJobs) {
  const auto one = FaultPlan::parse("hang:0.3,linger:0.3", 9).value();
  const auto two = FaultPlan::parse("linger:0.3,hang:0.3", 9).value();
  const auto other = FaultPlan::parse("hang:0.3,linger:0.3", 10).value();
  int differ = 0;
  int drawn = 0;
  for (std::uint64_t job = 1; job <= 1000; ++job) {
    EXPECT_EQ(one.drawn(Fault::hang, job), two.drawn(Fault::hang, job));
    differ += one.drawn(Fault::hang, job) != other.drawn(Fault::hang, job) ? 1 : 0;
    drawn += one.drawn(Fault::hang, job) ? 1 : 0;
  }
  EXPECT_GT(differ, 200);
  EXPECT_NEAR(drawn, 300, 50);
}

TEST(Faults, ZeroIsNeverAndOneIsAlways) {
  const auto plan = FaultPlan::parse("crash:1,leak:0", 1).value();
  for (std::uint64_t job = 1; job <= 100; ++job) {
    EXPECT_TRUE(plan.drawn(Fault::crash, job));
    EXPECT_FALSE(plan.drawn(Fault::leak, job));
    EXPECT_FALSE(plan.drawn(Fault::hang, job));
  }
  EXPECT_TRUE(plan.any());
  EXPECT_FALSE(FaultPlan::parse("", 1).value().any());
}

TEST(Faults, MistakesAreNamed) {
  EXPECT_EQ(FaultPlan::parse("hung:1", 1).error().doing.view(),
            "unknown fault 'hung' (known: hang, leak, linger, crash, ghost, stubborn)");
  for (const auto* wrong : {"hang", "hang:", "hang:2", "hang:-1", "hang:x", "hang:nan", "hang:1x"})
    EXPECT_FALSE(FaultPlan::parse(wrong, 1)) << wrong;
}

TEST(Options, DurationsFinerThanAMillisecond) {
  EXPECT_EQ(parse_fine_duration("1.13ms"), 1'130'000ns);
  EXPECT_EQ(parse_fine_duration("250us"), 250'000ns);
  EXPECT_EQ(parse_fine_duration("2s"), 2s);
  for (const auto* wrong : {"", "1", "ms", "-1ms", "1 ms", "1h", "nans", "1e3ms"})
    EXPECT_FALSE(parse_fine_duration(wrong)) << wrong;
}

TEST(Options, RequestMemoryFollowsTheFilm) {
  Options options;
  options.request_memory_per_megapixel = 64_MiB;
  EXPECT_EQ(options.request_memory(1'000'000), 64_MiB);
  EXPECT_EQ(options.request_memory(0), Bytes{});
}

}  // namespace
}  // namespace gpuward::xray
