#include "base/text.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace gpuward {
namespace {

TEST(Text, KeepsWhatFits) {
  Text<16> text("open");
  text.append(" '").append("x").append('\'');
  EXPECT_EQ(text.view(), "open 'x'");
  EXPECT_FALSE(text.cut());
}

TEST(Text, TakesAViewThatPointsNowhere) {
  EXPECT_EQ(Text<16>(std::string_view()).view(), "");
}

TEST(Text, CutsWithAnEllipsisAndStaysCut) {
  Text<8> text("0123456789");
  EXPECT_EQ(text.view(), "01234…");
  EXPECT_TRUE(text.cut());
  text.append("more");
  EXPECT_EQ(text.view(), "01234…");
}

TEST(Text, NeverCutsInsideACharacter) {
  Text<8> text("0123胸廓");  // 4 + 3 + 3 bytes
  EXPECT_EQ(text.view(), "0123…");
}

TEST(Text, PrintsTheSmallestNumber) {
  Text<32> text;
  text.append_number(-9223372036854775807LL - 1).append(' ').append_number(0);
  EXPECT_EQ(text.view(), "-9223372036854775808 0");
}

TEST(Error, SaysWhatWasAttemptedOnWhat) {
  EXPECT_EQ(error_from(ENOENT, "open", "/run/x").message(),
            "open '/run/x': No such file or directory");
  EXPECT_EQ(Error(Errc::timed_out, "wait for 'llama'").message(), "wait for 'llama': timed out");
}

}  // namespace
}  // namespace gpuward
