#include "gpu/rows.h"

#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>

namespace gpuward::gpu {
namespace {

constexpr std::uint32_t kPidMax = 4 << 20;

/// What a driver with rows of @p stride bytes leaves in a buffer with room for @p room rows.
std::vector<std::byte> written_by(std::size_t stride, std::vector<RawRow> rows,
                                  std::size_t room = 8) {
  std::vector<std::byte> buffer(room * sizeof(abi::ProcessDetail), kUntouched);
  for (std::size_t n = 0; n < rows.size(); ++n) {
    abi::ProcessDetail detail{};
    detail.pid = rows[n].pid;
    detail.memory = rows[n].memory;
    detail.gpu_instance = rows[n].gpu_instance;
    detail.compute_instance = rows[n].compute_instance;
    const std::size_t left = buffer.size() - std::min(buffer.size(), n * stride);
    std::memcpy(buffer.data() + n * stride, &detail,
                std::min(stride, left));  // the last row may be cut
  }
  return buffer;
}

const std::vector<RawRow> kThree = {{101, 7'000'000}, {102, abi::kNoMemory}, {103, 0}};

class Stride : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Known, Stride, testing::Values(16, 24, 32));

TEST_P(Stride, IsMeasuredWhateverTheSymbolSays) {
  const auto buffer = written_by(GetParam(), kThree);
  for (const std::size_t by_symbol : {16, 24, 32})
    EXPECT_EQ(row_stride(buffer, 3, by_symbol), GetParam());
}

TEST_P(Stride, IsMeasuredOfOneRow) {
  EXPECT_EQ(row_stride(written_by(GetParam(), {{101, 5}}), 1, 24), GetParam());
}

TEST_P(Stride, IsMeasuredOfAFullBuffer) {
  const std::vector<RawRow> rows(8, RawRow{101, 5});
  EXPECT_EQ(row_stride(written_by(GetParam(), rows), 8, 24), GetParam());
}

TEST_P(Stride, RowsComeBackAsTheyWereWritten) {
  const auto rows = read_rows(written_by(GetParam(), kThree), 3, GetParam());
  ASSERT_EQ(rows.size(), 3U);
  for (std::size_t n = 0; n < 3; ++n) {
    EXPECT_EQ(rows[n].pid, kThree[n].pid);
    EXPECT_EQ(rows[n].memory, kThree[n].memory);
    EXPECT_TRUE(plausible(rows[n], kPidMax, 80_GiB));
  }
}

TEST(StrideRule, AsksTheSymbolWhenNoLengthFits) {
  auto buffer = written_by(24, kThree);
  buffer[100] = std::byte{0};  // the driver scribbled past its last row
  EXPECT_EQ(row_stride(buffer, 3, 24), 24U);
  EXPECT_EQ(row_stride(buffer, 3, 32), 32U);
  std::fill(buffer.begin(), buffer.end(), std::byte{0});  // or cleared the whole buffer
  EXPECT_EQ(row_stride(buffer, 3, 24), 24U);
}

TEST(StrideRule, AsksTheSymbolWhenNothingWasWritten) {
  const auto buffer = written_by(24, {});
  EXPECT_EQ(row_stride(buffer, 0, 24), 24U);
  EXPECT_EQ(row_stride(buffer, 2, 32), 32U);
}

TEST(StrideRule, SymbolsTellTheDriversThatWidenedV3) {
  EXPECT_EQ(stride_by_symbol(3, true, false), 32U);
  EXPECT_EQ(stride_by_symbol(3, true, true), 24U);
  EXPECT_EQ(stride_by_symbol(3, false, false), 24U);
  EXPECT_EQ(stride_by_symbol(2, true, false), 24U);
  EXPECT_EQ(stride_by_symbol(1, true, false), 16U);
}

TEST(Rows, NeverReadPastTheBuffer) {
  const auto buffer = written_by(24, kThree, 2);
  EXPECT_EQ(read_rows(buffer, 1000, 24).size(), 2U);
  EXPECT_TRUE(read_rows(buffer, 3, 0).empty());
}

TEST(Rows, OfTheWrongStrideAreNotPlausible) {
  const auto rows = read_rows(written_by(24, {{101, 5}, {102, 5}}), 2, 16);
  EXPECT_TRUE(plausible(rows[0], kPidMax, 80_GiB));
  EXPECT_FALSE(plausible(rows[1], kPidMax, 80_GiB));
}

TEST(Rows, PlausibleEndsAtPidMaxAndTheBoard) {
  EXPECT_FALSE(plausible({0, 5}, kPidMax, 1_GiB));
  EXPECT_TRUE(plausible({kPidMax, 5}, kPidMax, 1_GiB));
  EXPECT_FALSE(plausible({kPidMax + 1, 5}, kPidMax, 1_GiB));
  EXPECT_TRUE(plausible({1, (1_GiB).count}, kPidMax, 1_GiB));
  EXPECT_FALSE(plausible({1, (1_GiB).count + 1}, kPidMax, 1_GiB));
  EXPECT_TRUE(plausible({1, abi::kNoMemory}, kPidMax, 1_GiB));
  EXPECT_TRUE(plausible({1, (64_GiB).count}, kPidMax, Bytes{})) << "the board is not known";
}

TEST(Rows, AllOnesMeansThatTheDriverDoesNotSay) {
  EXPECT_EQ(memory_of({1, abi::kNoMemory}), std::nullopt);
  EXPECT_EQ(memory_of({1, 0}), Bytes{0});
}

}  // namespace
}  // namespace gpuward::gpu
