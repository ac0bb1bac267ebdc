#include "gpu/nvml.h"

#include <gtest/gtest.h>

#include "os/clock.h"

namespace gpuward::gpu {
namespace {

// The layout itself is checked where it is written down, by static_assert.
TEST(Abi, VersionTagsAreSizeAndVersion) {
  EXPECT_EQ(abi::version_tag<abi::MemoryV2>(2), 0x02000028U);
  EXPECT_EQ(abi::version_tag<abi::ProcessDetailList>(1), 0x01000018U);
}

TEST(Nvml, SaysWhichLibraryIsMissing) {
  Nvml nvml(NvmlOptions("/nowhere/libnvidia-ml.so.1"));
  const GpuSnapshot snapshot = nvml.look();
  EXPECT_EQ(snapshot.sight, GpuSight::no_library);
  EXPECT_NE(snapshot.detail.find("/nowhere/libnvidia-ml.so.1"), std::string::npos)
      << snapshot.detail;
  EXPECT_TRUE(snapshot.devices.empty());
  EXPECT_GT(snapshot.taken_ns, 0);
  EXPECT_EQ(nvml.in_progress().get().name, nullptr);
}

TEST(Nvml, RefusesALibraryThatIsNotNvml) {
  Nvml nvml(NvmlOptions("libm.so.6"));
  const GpuSnapshot snapshot = nvml.look();
  EXPECT_EQ(snapshot.sight, GpuSight::no_library);
  EXPECT_EQ(snapshot.detail, "libm.so.6 has no nvmlInit_v2");
}

TEST(CallMark, KnowsTheCallUnderWay) {
  CallMark mark;
  const Symbol<abi::InitFn> absent{"nvmlInit_v2"};
  EXPECT_EQ(absent(mark, -1), abi::kFunctionNotFound);
  static CallMark seen;
  static CallMark::Call during;
  const Symbol<abi::InitFn> call{"nvmlInit_v2", +[] {
                                   during = seen.get();
                                   return abi::kSuccess;
                                 }};
  EXPECT_EQ(call(seen, 3), abi::kSuccess);
  EXPECT_GE(seen.get().since, during.since) << "a gap begins where the call ended";
  EXPECT_LE(seen.get().since, os::now());
  EXPECT_STREQ(during.name, "nvmlInit_v2");
  EXPECT_EQ(during.device, 3);
  EXPECT_EQ(seen.get().name, nullptr);
}

}  // namespace
}  // namespace gpuward::gpu
