#include "base/units.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

TEST(Bytes, PrintsThreeDigitsWithBinaryUnits) {
  EXPECT_EQ(to_string(Bytes{0}), "0 B");
  EXPECT_EQ(to_string(Bytes{1023}), "1023 B");
  EXPECT_EQ(to_string(1_KiB), "1 KiB");
  EXPECT_EQ(to_string(4_GiB), "4.0 GiB");
  EXPECT_EQ(to_string(Bytes{(139ULL << 30) + (1ULL << 29)}), "140 GiB");
  EXPECT_EQ(to_string(Bytes{~0ULL}), "16.0 EiB");
}

TEST(Bytes, DifferenceSaturatesAtZero) {
  EXPECT_EQ(1_MiB - 2_MiB, Bytes{0});
}

TEST(ParseBytes, NeedsAUnit) {
  EXPECT_EQ(parse_bytes("40GiB"), 40_GiB);
  EXPECT_EQ(parse_bytes("16 MiB"), 16_MiB);
  EXPECT_EQ(parse_bytes("1.5GiB"), Bytes{1610612736});
  EXPECT_EQ(parse_bytes("1GB"), Bytes{1000000000});
  for (const char* bad :
       {"", "40", "GiB", "-1GiB", "1e3MiB", "4 gib", "1GiB ", ".5GiB", "99999999999TiB"})
    EXPECT_FALSE(parse_bytes(bad)) << bad;
}

TEST(ParseDuration, NeedsAUnitAndAddsUp) {
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("10s"), 10s);
  EXPECT_EQ(parse_duration("5m"), 5min);
  EXPECT_EQ(parse_duration("1h30m"), 90min);
  EXPECT_EQ(parse_duration("14d"), 336h);
  EXPECT_EQ(parse_duration("0s"), 0s);
  for (const char* bad : {"", "10", "s", "-1s", "1 s", "10sec", "999999999d"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(Duration, PrintsForPeople) {
  EXPECT_EQ(to_string(400us), "400 us");
  EXPECT_EQ(to_string(2300us), "2.3 ms");
  EXPECT_EQ(to_string(1200ms), "1.2 s");
  EXPECT_EQ(to_string(250s), "4 min 10 s");
  EXPECT_EQ(to_string(2h), "2 h");
  EXPECT_EQ(to_string(76h), "3 d 4 h");
}

}  // namespace
}  // namespace gpuward
