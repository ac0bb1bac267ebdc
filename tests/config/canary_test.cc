#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "config/canary_reader.h"
#include "config/machine_check.h"
#include "text.h"

namespace gpuward::config {
namespace {

TEST(Canary, IsAsWritten) {
  const auto parsed = parse_text(
      "[service.a]\ncommand = [\"srv\", \"{port}\"]\ndirectory = \"/srv\"\n"
      "canary = { http = \"/analyze\", body = \"film.png\", type = \"image/png\", every = \"5m\", "
      "within = \"20s\", status = 200, answer = \"/known.json\", ignore = [\"/job\", \"/a~1b/0\"], "
      "tolerance = 0.01 }\n");
  ASSERT_EQ(heads(parsed.problems), Lines{});
  Canary expected;
  expected.path = "/analyze";
  expected.method = "POST";
  expected.body_file = "/srv/film.png";
  expected.type = "image/png";
  expected.status = 200;
  expected.answer_file = "/known.json";
  expected.ignore = {"/job", "/a~1b/0"};
  expected.tolerance = 0.01;
  expected.every = std::chrono::minutes(5);
  expected.within = std::chrono::seconds(20);
  EXPECT_EQ(parsed.services.at(0).canary, expected);
}

TEST(Canary, IsOffUnlessItIsWritten) {
  EXPECT_FALSE(parse_text("[service.a]\ncommand = [\"srv\"]\n").services.at(0).canary);
}

TEST(Canary, WithoutABodyItIsAGet) {
  const auto canary =
      parse_text("[service.a]\ncommand = [\"srv\"]\ncanary = { http = \"127.0.0.1:80/x\" }\n")
          .services.at(0)
          .canary;
  ASSERT_TRUE(canary);
  EXPECT_EQ(canary->method, "GET");
  EXPECT_EQ(canary->address, "127.0.0.1:80");
  EXPECT_EQ(canary->every, std::chrono::seconds(60));
  EXPECT_EQ(canary->within, std::chrono::seconds(10));
}

TEST(Canary, EveryMistakeIsNamedAtOnce) {
  EXPECT_EQ(
      problems_of("canary = { method = \"DELETE\", every = \"10\", within = \"1h\", "
                  "status = 503, type = \"image/png\", tolerance = 2, ignore = [\"job\"] }\n"),
      (Lines{"3:10: 'canary' has no 'http', expected where to ask: http = \"/health\"",
             "3:21: 'canary.method' does not know 'DELETE', expected \"GET\", \"POST\" or "
             "\"PUT\"",
             "3:39: 'canary.every' has no unit, expected \"10s\"",
             "3:54: 'canary.within' is out of range, expected 100ms to 10m",
             "3:69: 'canary.status' is no such status, expected 200 to 499, but for 408 and "
             "429, by which a service says that it is busy",
             "3:74: 'canary.type' has nothing to work on, expected 'body' beside it",
             "3:94: 'canary.tolerance' has nothing to work on, expected 'answer' beside it",
             "3:106: 'canary.tolerance' is no part of a number, expected 0 to 1: 0.01 is one "
             "in a hundred",
             "3:109: 'canary.ignore' has nothing to work on, expected 'answer' beside it",
             "3:119: 'job' is no JSON pointer, expected one such as "
             "\"/results/0/timing\""}));
}

TEST(Canary, AnUnknownKeyIsNamedWithTheNearest) {
  EXPECT_EQ(problems_of("canary = { http = \"/a\", evry = \"10s\" }\n"),
            Lines{"3:25: unknown key 'canary.evry'; did you mean 'canary.every'?"});
  EXPECT_EQ(problems_of("canary = \"/a\"\n"),
            Lines{"3:10: 'canary' is a string, expected a table: { http = \"/health\", every = "
                  "\"60s\" }"});
}

// A film of a patient leaves this machine for nobody.
TEST(Canary, GoesToThisMachineAlone) {
  EXPECT_EQ(problems_of("canary = { http = \"192.168.0.7:80/a\" }\n"),
            Lines{"3:19: 'canary.http' is not on this machine, expected \"127.0.0.1:7860/path\", "
                  "\"[::1]:7860/path\" or \"/path\""});
  EXPECT_EQ(problems_of("canary = { http = \"[::1]:80/a\" }\n"), Lines{});
}

TEST(Canary, NothingThatIsWrittenCanEndALineOfTheRequest) {
  EXPECT_EQ(problems_of("canary = { http = \"/a\\r\\nX: y\" }\n").size(), 1U);
  EXPECT_EQ(
      problems_of("canary = { http = \"/a\", body = \"b\", type = \"a\\r\\nX: y\" }\n").size(), 1U);
}

TEST(Canary, ABodyNeedsAMethodThatSendsOne) {
  EXPECT_EQ(problems_of("canary = { http = \"/a\", body = \"b\", method = \"GET\" }\n"),
            Lines{"3:25: 'canary.body' is not sent with GET, expected method = \"POST\""});
}

class CanaryFilesTest : public ::testing::Test {
 protected:
  CanaryFilesTest() {
    char name[] = "/tmp/gpuward-test-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~CanaryFilesTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
  }
  // What `check` says of them, without what it says of the rest.
  Lines check(const std::string& keys) const {
    const auto parsed = parse_text(
        "[service.a]\ncommand = [\"/bin/true\", \"{port}\"]\ndirectory "
        "= \"" +
        folder_ + "\"\ncanary = { http = \"/a\", " + keys + " }\n");
    Lines said = heads(parsed.problems);
    for (const auto& line : heads(check_machine(parsed, {"/bin", folder_}))) said.push_back(line);
    for (auto& line : said)
      for (auto at = line.find(folder_); at != line.npos; at = line.find(folder_))
        line.replace(at, folder_.size(), "DIR");
    return said;
  }

  std::string folder_;
};

TEST_F(CanaryFilesTest, ThatAreGoodAreNoProblem) {
  write("film", "x");
  write("known", R"({"job": 1, "ok": true})");
  EXPECT_EQ(check(R"(body = "film", answer = "known", ignore = ["/job"])"), Lines{});
}

TEST_F(CanaryFilesTest, ThatAreMissingEmptyOrTooLargeAreProblems) {
  EXPECT_EQ(check(R"(body = "film", answer = "known")"),
            (Lines{"4:32: cannot read 'canary.body': No such file or directory, expected a "
                   "readable file at 'DIR/film'",
                   "4:49: cannot read 'canary.answer': No such file or directory, expected a "
                   "readable file at 'DIR/known'"}));
  write("film", "");
  write("known", std::string(answer::kLongestAnswer + 1, 'x'));
  EXPECT_EQ(check(R"(body = "film", answer = "known")"),
            (Lines{"4:32: 'canary.body' is empty: 'DIR/film'",
                   "4:49: cannot read 'canary.answer': File too large, expected at most 1 "
                   "MiB"}));
  write("film", std::string(kLargestCanaryBody.count + 1, 'x'));
  EXPECT_EQ(check(R"(body = "film")").size(), 1U);
  EXPECT_EQ(check("body = \"" + folder_ + "\"").size(), 1U);
}

TEST_F(CanaryFilesTest, PointersNeedJsonAndShouldNameSomething) {
  write("known", "normal");
  EXPECT_EQ(check(R"(answer = "known")"), Lines{});
  EXPECT_EQ(check(R"(answer = "known", tolerance = 0.1)"),
            Lines{"4:34: 'canary.answer' is no JSON, in which 'ignore' and 'tolerance' name "
                  "values, expected JSON, or neither of them: then it is compared byte by byte"});
  write("known", R"({"job": 1})");
  EXPECT_EQ(check(R"(answer = "known", ignore = ["/jbo"])"),
            Lines{"4:52: 'canary.ignore': '/jbo' names nothing in 'answer', expected a value that "
                  "stands there"});
}

}  // namespace
}  // namespace gpuward::config
