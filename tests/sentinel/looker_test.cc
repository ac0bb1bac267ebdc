#include "sentinel/looker.h"

#include <gtest/gtest.h>

namespace gpuward::sentinel {
namespace {

using namespace std::chrono_literals;
using Call = gpu::CallMark::Call;

constexpr Instant kAsked{1h};

TEST(StuckAt, ACallHasLessTimeThanOneThatWakesACard) {
  EXPECT_EQ(stuck_at(Call{"nvmlDeviceGetUUID", 0, kAsked}, kAsked), kAsked + kCallDeadline);
  for (const char* name : {"dlopen", "nvmlInit_v2", gpu::kOpensDevice, gpu::kReadsVersion})
    EXPECT_EQ(stuck_at(Call{name, 0, kAsked}, kAsked), kAsked + kWakeDeadline) << name;
}

TEST(StuckAt, AGapComesToItsEndToo) {
  EXPECT_EQ(stuck_at(Call{nullptr, -1, kAsked + 10ms}, kAsked), kAsked + 10ms + kGapDeadline);
  EXPECT_EQ(stuck_at(Call{nullptr, -1, kAsked - 30s}, kAsked), kAsked + kGapDeadline)
      << "the rest between two looks does not count";
}

}  // namespace
}  // namespace gpuward::sentinel
