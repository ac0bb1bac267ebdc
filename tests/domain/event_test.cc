#include "domain/event.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

TEST(WithoutCommands, CutsWhereACommandLineBegins) {
  EXPECT_EQ(
      without_commands("start: port 7860 is taken by pid 4711 (app.py --token (x) geheim): busy"),
      "start: port 7860 is taken by pid 4711");
  EXPECT_EQ(
      without_commands("its record is gone, and 2 processes of it run on unowned: 4711 (app)"),
      "its record is gone, and 2 processes of it run on unowned: 4711");
  EXPECT_EQ(without_commands("ended by signal 9 (killed)"), "ended by signal 9 (killed)");
  EXPECT_EQ(without_commands("4711 (app)"), "4711 (app)");
  EXPECT_EQ(without_commands(""), "");
}

}  // namespace
}  // namespace gpuward
