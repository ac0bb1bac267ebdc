#include "config/problem.h"

#include <gtest/gtest.h>

namespace gpuward::config {
namespace {

TEST(Problem, RendersPlaceLineAndCaret) {
  EXPECT_EQ(render(Problem{"a.toml", 3, 9, "'x' has no unit", "\"10s\"", "grace = \"10\""}),
            "a.toml:3:9: 'x' has no unit, expected \"10s\"\n"
            "  grace = \"10\"\n"
            "          ^");
}

TEST(Problem, WithoutExpectedOrLineItIsShorter) {
  EXPECT_EQ(render(Problem{"a.toml", 0, 0, "cannot read: No such file or directory", "", ""}),
            "a.toml: cannot read: No such file or directory");
}

TEST(Problem, CaretFollowsTabs) {
  EXPECT_EQ(render(Problem{"f", 1, 4, "w", "", "\tk\t= 1"}), "f:1:4: w\n  \tk\t= 1\n  \t \t^");
}

TEST(Problem, CaretCountsCharactersNotBytesAndWideOnesTwice) {
  EXPECT_EQ(render(Problem{"f", 1, 3, "w", "", "éé = 1"}), "f:1:3: w\n  éé = 1\n    ^");
  EXPECT_EQ(render(Problem{"f", 1, 3, "w", "", "分诊 = 1"}), "f:1:3: w\n  分诊 = 1\n      ^");
  EXPECT_EQ(render(Problem{"f", 1, 3, "w", "", "e\u0301= 1"}), "f:1:3: w\n  e\u0301= 1\n   ^");
}

TEST(Problem, CaretStandsBehindTheLineWhenThePlaceIsItsEnd) {
  EXPECT_EQ(render(Problem{"f", 1, 99, "w", "", "ab"}), "f:1:99: w\n  ab\n    ^");
}

TEST(Problem, NothingATerminalWouldActOnIsPrinted) {
  EXPECT_EQ(render(Problem{"f\n", 1, 2, "a\x1b[2J", "b\r", "x\x1b\xff\u202ey"}),
            "f?:1:2: a?[2J, expected b?\n  x???y\n   ^");
}

TEST(Problem, LongLinesAreCutAroundThePlace) {
  const std::string line = std::string(300, 'a') + "X" + std::string(300, 'b');
  const std::string text = render(Problem{"f", 1, 301, "w", "", line});
  EXPECT_EQ(text, "f:1:301: w\n  …" + std::string(60, 'a') + "X" + std::string(99, 'b') + "…\n   " +
                      std::string(60, ' ') + "^");
}

TEST(Problem, LongWordsAreCutInQuotes) {
  EXPECT_LT(in_quotes(std::string(500, 'x')).size(), 90U);
}

}  // namespace
}  // namespace gpuward::config
