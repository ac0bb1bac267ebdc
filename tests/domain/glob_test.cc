#include "domain/glob.h"

#include <gtest/gtest.h>
#include <string>

namespace gpuward {
namespace {

TEST(GlobMatches, TheWholeTextOrNothing) {
  EXPECT_TRUE(glob_matches("", ""));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_TRUE(glob_matches("sleep 5", "sleep 5"));
  EXPECT_FALSE(glob_matches("sleep", "sleep 5"));
  EXPECT_FALSE(glob_matches("sleep 5", "sleep"));
  EXPECT_FALSE(glob_matches("leep 5", "sleep 5"));
}

TEST(GlobMatches, AStarStandsForAnyBytesAlsoNone) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*worker*", "worker"));
  EXPECT_TRUE(glob_matches("*worker*", "python worker.py --slow"));
  EXPECT_FALSE(glob_matches("*worker", "python worker.py"));
  EXPECT_TRUE(glob_matches("*a*b*c", "xaxbxcxabc"));
  EXPECT_FALSE(glob_matches("*a*b*c", "xaxbxcxabd"));
  EXPECT_TRUE(glob_matches("a**", "a"));
  EXPECT_TRUE(glob_matches("*ab", "aab")) << "a false start is taken back";
}

TEST(GlobMatches, AQuestionMarkStandsForOneByte) {
  EXPECT_TRUE(glob_matches("job-?", "job-7"));
  EXPECT_FALSE(glob_matches("job-?", "job-"));
  EXPECT_FALSE(glob_matches("job-?", "job-77"));
  EXPECT_TRUE(glob_matches("*-??", "job-77"));
}

TEST(GlobMatches, NothingElseIsSpecial) {
  EXPECT_TRUE(glob_matches("a[b].c\\", "a[b].c\\"));
  EXPECT_FALSE(glob_matches("a[b].c", "ab.c"));
  EXPECT_FALSE(glob_matches("a.c", "abc"));
}

TEST(GlobMatches, ManyStarsCostNoMoreThanTheProduct) {
  std::string pattern;
  for (int n = 0; n < 60; ++n) pattern += "a*";
  EXPECT_FALSE(
      glob_matches(pattern + "b", std::string(4096, 'a')));  // for ever if each star tried all
}

TEST(ReleaseFault, WhatWouldMatchEverythingIsRefused) {
  for (const char* bad : {"*", "**", "?*", "* *", " ", ""})
    EXPECT_FALSE(release_fault(bad).empty()) << bad;
  EXPECT_FALSE(release_fault(std::string(201, 'a')).empty());
  EXPECT_FALSE(release_fault("a\nb").empty());
  EXPECT_TRUE(release_fault(std::string(200, 'a')).empty());
  EXPECT_TRUE(release_fault("* --detach*").empty());
}

}  // namespace
}  // namespace gpuward
