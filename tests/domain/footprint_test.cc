#include "domain/footprint.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

void see_job(Footprint& footprint, double size, Bytes bytes) {
  footprint.see_peak(bytes, {.jobs = 1, .size = size});
  footprint.see_job(size);
}

Bytes with_margin(Bytes bytes) {
  return {static_cast<std::uint64_t>(Footprint::kMargin * static_cast<double>(bytes.count))};
}

TEST(Footprint, UnknownUntilThreeJobsWereSeen) {
  Footprint footprint;
  see_job(footprint, 1, 4_GiB);
  see_job(footprint, 1, 4_GiB);
  EXPECT_FALSE(footprint.need(1));
  see_job(footprint, 1, 4_GiB);
  EXPECT_EQ(footprint.need(1), with_margin(4_GiB));
}

TEST(Footprint, GoesWithSizeWhereMemoryDoes) {
  Footprint footprint;
  for (const double size : {1.0, 2.0, 3.0})
    see_job(footprint, size, {static_cast<std::uint64_t>(size * (1ULL << 30))});
  EXPECT_EQ(footprint.need(2), with_margin(2_GiB));
  EXPECT_EQ(footprint.need(5), with_margin(5_GiB)) << "larger than any seen: by its size";
}

TEST(Footprint, DoesNotGoWithSizeWhereMemoryDoesNot) {
  Footprint footprint;
  for (const double size : {1.0, 2.0, 3.0}) see_job(footprint, size, 4_GiB);
  EXPECT_EQ(footprint.need(3), with_margin(4_GiB)) << "not 12";
}

// The largest of three is hidden in their mean: what is reserved for a giant is not that mean.
TEST(Footprint, AMeanStandsForJobsOfItsSizeOnly) {
  Footprint footprint;
  for (int i = 0; i < 3; ++i) {
    footprint.see_peak(12_GiB, {.jobs = 3, .size = 3});
    footprint.see_job(1.9);
  }
  EXPECT_EQ(footprint.need(1), with_margin(4_GiB));
  EXPECT_EQ(footprint.need(2), with_margin(8_GiB));
}

// harm.md 15.
TEST(Footprint, OneGiantIsForgottenTwoAreNot) {
  const auto after_epochs = [](int giants, int epochs) {
    Footprint footprint;
    for (int i = 0; i < 3; ++i) see_job(footprint, 1, 2_GiB);
    for (int i = 0; i < giants; ++i) see_job(footprint, 1, 20_GiB);
    EXPECT_EQ(footprint.need(1), with_margin(20_GiB));
    for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(epochs) * Footprint::kEpoch; ++i)
      see_job(footprint, 1, 2_GiB);
    return *footprint.need(1);
  };
  EXPECT_EQ(after_epochs(1, 2), with_margin(2_GiB));
  EXPECT_GT(after_epochs(2, 2), 20_GiB);
  EXPECT_EQ(after_epochs(2, 60), with_margin(2_GiB)) << "but not for ever";
}

TEST(Footprint, CertainOnlyWhereItGoesWithSize) {
  Footprint footprint;
  for (const double size : {1.0, 1.1, 1.2})
    see_job(footprint, size, {static_cast<std::uint64_t>(size * (1ULL << 30))});
  EXPECT_FALSE(footprint.certain_need(100)) << "all of one size: nobody knows";
  see_job(footprint, 3, 3_GiB);
  ASSERT_TRUE(footprint.certain_need(100));
  EXPECT_NEAR(static_cast<double>(footprint.certain_need(100)->count),
              static_cast<double>((100_GiB).count), 1024);
  EXPECT_FALSE(footprint.certain_need(3)) << "it has been done";
  see_job(footprint, 1, 4_GiB);
  EXPECT_FALSE(footprint.certain_need(100)) << "a leak makes it less certain, not more";
}

}  // namespace
}  // namespace gpuward
