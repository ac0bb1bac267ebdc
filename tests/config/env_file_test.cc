#include "config/env_file.h"

#include "text.h"

namespace gpuward::config {
namespace {

TEST(EnvFile, ReadsNamesAndValues) {
  const EnvFile file = parse_env_file(
      "# a comment\n"
      "\n"
      "A=1\n"
      "  export B = two words  # and a comment\r\n"
      "C='as $it \\n is # here' # comment\n"
      "D=\"a\\tb \\\"q\\\" \\$5\"\n"
      "E=\n"
      "F=a#b=c\n"
      "A=again\n",
      ".env");
  EXPECT_EQ(heads(file.problems), Lines{});
  EXPECT_EQ(file.variables, (std::vector<EnvVar>{{"A", "again"},
                                                 {"B", "two words"},
                                                 {"C", "as $it \\n is # here"},
                                                 {"D", "a\tb \"q\" $5"},
                                                 {"E", ""},
                                                 {"F", "a#b=c"}}));
}

TEST(EnvFile, EveryBadLineIsTold) {
  const EnvFile file = parse_env_file(
      std::string("just text\n=1\nA B=1\nC=\"open\nD='a'b\nE=\"\\x\"\nF=a\0b\nG=1", 50), ".env");
  EXPECT_EQ(heads(file.problems),
            (Lines{".env:1:1: no '=' on this line, expected NAME=VALUE",
                   ".env:2:1: the name of a variable is empty, expected NAME=VALUE",
                   ".env:3:1: bad variable name 'A B', expected NAME=VALUE",
                   ".env:4:3: the quote is not closed on this line, expected a closing \"",
                   ".env:5:6: text after the closing quote, expected the end of the line or a "
                   "#comment",
                   ".env:6:4: unknown escape in a value, expected \\n, \\t, \\\", \\\\ or \\$; or "
                   "'...' instead",
                   ".env:7:4: a NUL byte, expected text"}));
  EXPECT_EQ(file.variables, (std::vector<EnvVar>{{"G", "1"}}));
}

}  // namespace
}  // namespace gpuward::config
