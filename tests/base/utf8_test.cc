#include "base/utf8.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

TEST(Printable, LeavesTextOfAnyScript) {
  EXPECT_EQ(printable("R\xC3\xB6ntgen \xE8\x82\xBA \xF0\x9F\xA9\xBB"),
            "R\xC3\xB6ntgen \xE8\x82\xBA \xF0\x9F\xA9\xBB");
}

TEST(Printable, TakesFromATerminalWhatItWouldActOn) {
  EXPECT_EQ(printable("a\x1B[31mb\nc\td\x7F"), "a?[31mb?c d?");
  EXPECT_EQ(printable("\xC2\x9B"
                      "2J"),
            "?2J");  // C1: CSI in one character
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "cod.exe"),
            "?cod.exe");  // right-to-left override
}

TEST(Printable, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(printable("a\xFFz"), "a?z");
  EXPECT_EQ(printable("cut \xE8\x82"), "cut ??");
  EXPECT_EQ(printable("\xC0\xAF"), "??");            // overlong '/', two bytes
  EXPECT_EQ(printable("\xE0\x80\xAF"), "???");       // overlong, three
  EXPECT_EQ(printable("\xED\xA0\x80"), "???");       // a surrogate
  EXPECT_EQ(printable("\xF4\x90\x80\x80"), "????");  // beyond U+10FFFF
}

TEST(DisplayWidth, CountsCellsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("胸廓"), 4);
  EXPECT_EQ(display_width("e\xCC\x81"), 1);  // a combining accent
}

TEST(Shortened, CutsBetweenCharacters) {
  EXPECT_EQ(shortened("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened("abcdefg", 6), "abcde…");
  EXPECT_EQ(shortened("胸廓结构", 8), "胸廓结构");
  EXPECT_EQ(shortened("胸廓结构", 7), "胸廓结…");
  EXPECT_EQ(shortened("胸廓结构", 6), "胸廓…");
  EXPECT_EQ(shortened("", 0), "");
}

}  // namespace
}  // namespace gpuward
