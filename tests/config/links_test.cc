// `after` and `requires`: what is wrong with them, with the place of every link.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "text.h"

namespace gpuward::config {
namespace {

namespace fs = std::filesystem;

std::string service(const std::string& name, const std::string& keys = {}) {
  return "[service." + name + "]\ncommand = [\"x\"]\n" + keys;
}

TEST(Links, AreReadAsTheyWereWritten) {
  const Parsed parsed = parse_text(service("db") + service("cache") +
                                   service("api", "after = [\"cache\"]\nrequires = [\"db\"]\n"));
  ASSERT_EQ(heads(parsed.problems), Lines{});
  EXPECT_EQ(parsed.services[2].after, Lines{"cache"});
  EXPECT_EQ(parsed.services[2].needs, Lines{"db"});
}

TEST(Links, AreListsOfOtherServices) {
  EXPECT_EQ(
      problems_of("after = \"db\"\nrequires = [1, \"\", \"a\", \"b c\"]\n"),
      (Lines{
          R"(3:9: 'after' is a string, expected a list of services: ["db"])",
          R"(4:13: 'requires' is an integer, expected a string: "1")",
          R"(4:16: '' cannot be the name of a service, expected a list of services: ["db"])",
          "4:20: service 'a' names itself in 'requires', expected another service",
          R"(4:25: 'b c' cannot be the name of a service, expected a list of services: ["db"])"}));
}

TEST(Links, UnknownOnesAreSaidWithTheNearest) {
  const Parsed parsed =
      parse_text(service("postgres") +
                 service("api", "requires = [\"postgrse\"]\nafter = [\"apj\", \"moon\"]\n"));
  EXPECT_EQ(heads(parsed.problems),
            (Lines{"5:13: 'requires' names 'postgrse', but there is no such service; did you mean "
                   "'postgres'?",
                   "6:10: 'after' names 'apj', but there is no such service",
                   "6:17: 'after' names 'moon', but there is no such service"}));
  ASSERT_EQ(parsed.services.size(), 1U);
  EXPECT_EQ(parsed.broken[0].name, "api");
}

TEST(Links, OneNameTwiceIsAMistakeButInBothListsItIsNone) {
  EXPECT_EQ(
      heads(parse_text(service("db") + service("api", "after = [\"db\", \"db\"]\n")).problems),
      Lines{"5:16: 'after' names 'db' twice"});
  EXPECT_EQ(
      heads(parse_text(service("db") + service("api", "after = [\"db\"]\nrequires = [\"db\"]\n"))
                .problems),
      Lines{});
}

TEST(Links, ACircleIsShownLinkByLink) {
  const Parsed parsed =
      parse_text(service("a", "requires = [\"b\"]\n") + service("b", "after = [\"c\"]\n") +
                 service("c", "after = [\"d\", \"a\"]\n") + service("d"));
  EXPECT_EQ(
      heads(parsed.problems),
      Lines{"3:13: services wait for each other: a -> b (x.toml:3:13) -> c (x.toml:6:10) -> a "
            "(x.toml:9:15)"});
  ASSERT_EQ(parsed.services.size(), 1U) << "who is in the circle is broken";
  EXPECT_EQ(parsed.services[0].name, "d");
}

TEST(Links, ABrokenServiceIsThereAllTheSame) {
  EXPECT_EQ(heads(parse_text(service("a", "requires = [\"b\"]\n") + "[service.b]\n").problems),
            Lines{"4:10: service 'b' has no 'command', expected command = [\"program\", "
                  "\"argument\", ...]"});
}

class LinkFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "links_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }
  void write(const char* name, const std::string& text) { std::ofstream(root_ / name) << text; }

  Lines problems() const {
    Lines out = heads(load_folder(root_).problems);
    for (std::string& line : out)
      for (std::size_t at; (at = line.find(root_.string() + "/")) != std::string::npos;)
        line.erase(at, root_.string().size() + 1);
    return out;
  }

  fs::path root_;
};

TEST_F(LinkFiles, ACircleGoesAcrossFiles) {
  write("1.toml", service("a", "after = [\"c\"]\n"));
  write("2.toml", service("b", "requires = [\"a\"]\n"));
  write("3.toml", "\n" + service("c", "requires = [\"b\"]\n"));
  EXPECT_EQ(problems(),
            Lines{"1.toml:3:10: services wait for each other: a -> c (1.toml:3:10) -> b "
                  "(3.toml:4:13) -> a (2.toml:3:13)"});
}

TEST_F(LinkFiles, NothingIsSaidOfWhatAnUnreadableFileMayHold) {
  write("1.toml", service("a", "after = [\"c\"]\n"));
  write("2.toml", "[service.c\n");
  const Lines found = problems();
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NE(found[0].find("2.toml"), std::string::npos) << found[0];
  write("2.toml", service("c"));
  EXPECT_EQ(problems(), Lines{});
}

}  // namespace
}  // namespace gpuward::config
