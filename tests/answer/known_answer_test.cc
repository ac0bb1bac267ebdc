#include "answer/known_answer.h"

#include <gtest/gtest.h>

namespace gpuward::answer {
namespace {

std::string difference(std::string known, std::string_view answer, Leave leave = {}) {
  const auto made = KnownAnswer::make(std::move(known), std::move(leave));
  if (!made) return made.error().message();
  return made->difference(answer).value_or("");
}

TEST(KnownAnswer, TheSameBytesAreRightWhateverTheyAre) {
  EXPECT_EQ(difference("{\"a\": 1}", "{\"a\": 1}"), "");
  EXPECT_EQ(difference(std::string("\0\xff", 2), std::string("\0\xff", 2)), "");
}

TEST(KnownAnswer, TextIsComparedByteByByte) {
  EXPECT_EQ(difference("normal heart", "normal lungs"), "at byte 7");
  EXPECT_EQ(difference("normal", "normal\n"), "at byte 6");
  EXPECT_EQ(difference("normal", ""), "at byte 0");
}

TEST(KnownAnswer, OfJsonWhiteSpaceAndTheOrderOfMembersAreNothing) {
  EXPECT_EQ(difference(R"({"a": 1, "b": [true, null]})", "{\"b\":[true,null],\n\"a\":1}\n"), "");
}

TEST(KnownAnswer, TheFirstValueThatDiffersIsNamed) {
  const std::string known = R"({"results": [{"measures": {"heart": 0.41}, "report": "normal"}]})";
  EXPECT_EQ(difference(known, R"({"results": [{"measures": {"heart": 0.42}, "report": "no"}]})"),
            "at /results/0/measures/heart");
  EXPECT_EQ(
      difference(known, R"({"results": [{"measures": {"heart": 0.41}, "report": "Normal"}]})"),
      "at /results/0/report");
  EXPECT_EQ(difference(known, R"({"results": {}})"), "at /results");
  EXPECT_EQ(difference(known, R"({"results": []})"),
            "at /results, which has another number of items");
  EXPECT_EQ(difference(known, "{}"), "at /results, which is missing");
  EXPECT_EQ(difference(known, "[]"), "in the whole");
  EXPECT_EQ(difference(known, "<html>"), "in the whole, which is no JSON");
}

TEST(KnownAnswer, NamesWithSlashesAreWrittenAsPointersWriteThem) {
  EXPECT_EQ(difference(R"({"a/b~c": {"": 1}})", R"({"a/b~c": {"": 2}})"), "at /a~1b~0c/");
}

// harm.md 11: it may be the name of a patient.
TEST(KnownAnswer, NothingOfTheOtherAnswerIsTold) {
  EXPECT_EQ(difference(R"({"a": {}})", R"({"a": {"John Doe": 1}})"),
            "at /a, which has a further member");
  EXPECT_EQ(difference(R"({"a": "x"})", R"({"a": "John Doe"})"), "at /a");
}

TEST(KnownAnswer, WhatVariesIsIgnoredWithAllThatIsBelow) {
  const Leave leave{{"/job", "/results/0/timing", "/results/0/note"}, 0};
  const std::string known = R"({"job": 1, "results": [{"timing": {"gpu": 1}, "ok": true}]})";
  EXPECT_EQ(difference(known, R"({"job": "x", "results": [{"timing": [], "ok": true}]})", leave),
            "");
  EXPECT_EQ(difference(known, R"({"results": [{"ok": true, "note": "new"}]})", leave), "");
  EXPECT_EQ(difference(known, R"({"results": [{"ok": false}]})", leave), "at /results/0/ok");
}

TEST(KnownAnswer, NumbersMayDifferByTheirTolerance) {
  const Leave leave{{}, 0.01};
  EXPECT_EQ(difference("[100.0]", "[101]", leave), "");
  EXPECT_EQ(difference("[100.0]", "[101.1]", leave), "at /0");
  EXPECT_EQ(difference("[0.001]", "[0.009]", leave), "");  // of 1, where it is smaller
  EXPECT_EQ(difference("[-100]", "[-99.5]", leave), "");
  EXPECT_EQ(difference("[1]", "[\"1\"]", leave), "at /0");
}

TEST(KnownAnswer, WithoutToleranceNumbersAreEqual) {
  EXPECT_EQ(difference("[1]", "[1.0]"), "");
  EXPECT_EQ(difference("[0.1]", "[0.1000001]"), "at /0");
  // Beyond 2^53, where two of them are one double.
  EXPECT_EQ(difference("[9007199254740993]", "[9007199254740992]"), "at /0");
  EXPECT_EQ(difference("[18446744073709551615]", "[-1]"), "at /0");
}

TEST(KnownAnswer, WhatIsNoUseAsOneIsRefused) {
  EXPECT_FALSE(KnownAnswer::make("", {}));
  EXPECT_FALSE(KnownAnswer::make(std::string(kLongestAnswer + 1, 'x'), {}));
  EXPECT_FALSE(KnownAnswer::make("normal", {{"/a"}, 0}));
  EXPECT_FALSE(KnownAnswer::make("normal", {{}, 0.1}));
  EXPECT_TRUE(KnownAnswer::make("normal", {}));
}

TEST(KnownAnswer, ATextThatIsTooDeepIsNoJson) {
  const std::string deep = std::string(1000, '[') + std::string(1000, ']');
  EXPECT_EQ(difference("[]", deep), "in the whole, which is no JSON");
}

TEST(KnownAnswer, PointersThatNameNothingAreFound) {
  const auto known = KnownAnswer::make(R"({"a": [{"b": 1}]})", {{"/a/0/b", "/a/1", "/A"}, 0});
  ASSERT_TRUE(known);
  EXPECT_EQ(known->idle_pointers(), (std::vector<std::string>{"/a/1", "/A"}));
}

TEST(KnownAnswer, APlaceIsShortAndPrintable) {
  const std::string key(4000, 'k');
  const auto place = difference("{\"" + key + "\": 1}", "{\"" + key + "\": 2}");
  EXPECT_LT(place.size(), 200U);
  EXPECT_EQ(difference("{\"a\\u001b[2J\": 1}", "{\"a\\u001b[2J\": 2}").find('\x1b'),
            std::string::npos);
}

TEST(Pointer, BeginsWithASlashAndEscapesWell) {
  for (const char* text : {"/", "/a", "/a/0/b", "/a~0b~1c"}) EXPECT_TRUE(is_pointer(text)) << text;
  for (const char* text : {"", "a", "a/b", "/a~", "/a~2"}) EXPECT_FALSE(is_pointer(text)) << text;
}

}  // namespace
}  // namespace gpuward::answer
