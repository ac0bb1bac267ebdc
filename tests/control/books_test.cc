#include "control/books.h"

#include <unistd.h>

#include <fstream>
#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace gpuward::control {
namespace {

CardBook a_book() {
  CardBook book;
  book.marks.resize(1);
  book.marks[0].uuid = "GPU-a";
  book.marks[0].cordoned = true;
  book.marks[0].cordoned_why = "driver update";
  book.services = {{"xray", 7, {"GPU-a", "GPU-b"}}};
  return book;
}

TEST(Books, AreReadAsTheyWereWritten) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/cards";
  ASSERT_TRUE(write_book(path, a_book()));
  const auto book = read_book<CardBook>(path);
  ASSERT_TRUE(book);
  ASSERT_EQ(book->marks.size(), 1U);
  EXPECT_TRUE(book->marks[0].cordoned);
  EXPECT_EQ(book->marks[0].cordoned_why, "driver update");
  EXPECT_EQ(book->services.at(0).uuids, (std::vector<std::string>{"GPU-a", "GPU-b"}));
}

TEST(Books, OneThatWasNeverWrittenIsEmpty) {
  const tests::TempFolder folder;
  const auto book = read_book<CardBook>(folder.path() + "/cards");
  ASSERT_TRUE(book);
  EXPECT_TRUE(book->marks.empty());
}

TEST(Books, ADamagedOneIsSetAsideAndSaid) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/cards";
  ASSERT_TRUE(write_book(path, a_book()));
  ASSERT_EQ(::truncate(path.c_str(), 20), 0);
  EXPECT_EQ(read_book<CardBook>(path).error().code, make_error_code(Errc::bad_message));
  std::string trouble;
  EXPECT_TRUE(read_or_set_aside<CardBook>(path, &trouble).marks.empty());
  EXPECT_NE(trouble.find("kept as " + path + ".damaged"), std::string::npos) << trouble;
  EXPECT_EQ(::access(path.c_str(), F_OK), -1);
  EXPECT_EQ(::access((path + ".damaged").c_str(), F_OK), 0);
}

TEST(Books, OneOfAnotherKindIsNotTakenForIt) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/cards";
  ASSERT_TRUE(write_book(path, HealBook{}));
  EXPECT_FALSE(read_book<CardBook>(path));
}

// What cannot be read for another reason may be sound: nobody takes it away.
TEST(Books, WhatCannotBeReadStaysWhereItIs) {
  const tests::TempFolder folder;
  const std::string path = folder.path() + "/cards";
  ASSERT_EQ(::symlink("/nowhere/at/all", path.c_str()), 0);
  std::string trouble;
  (void)read_or_set_aside<CardBook>(path, &trouble);
  char target[64];
  EXPECT_GT(::readlink(path.c_str(), target, sizeof target), 0);
  ASSERT_TRUE(keep_unread(path));
  EXPECT_EQ(::readlink(path.c_str(), target, sizeof target), -1);
  EXPECT_GT(::readlink((path + ".unread").c_str(), target, sizeof target), 0);
  EXPECT_TRUE(keep_unread(path)) << "there is none";
}

}  // namespace
}  // namespace gpuward::control
