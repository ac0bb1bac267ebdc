#include "os/proc_fs.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "child.h"

namespace gpuward::os {
namespace {

std::string stat_line(std::string_view name) {
  return "4711 (" + std::string(name) +
         ") S 42 4711 4711 0 -1 4194560 1 2 3 4 120 30 0 0 20 0 1 0 987654321 10000 200\n";
}

TEST(ParseStat, ReadsTheFieldsThatWeUse) {
  const auto stat = parse_stat(stat_line("python3"));
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->name.view(), "python3");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent, Pid{42});
  EXPECT_EQ(stat->start_ticks, 987654321U);
  EXPECT_EQ(stat->cpu_ticks, 150U);
  EXPECT_EQ(stat->threads, 1U);
}

TEST(StorageBytes, AreThoseOfTheDiskAndNotOfTheCache) {
  const std::string text =
      "rchar: 9000\nwchar: 800\nsyscr: 7\nsyscw: 6\nread_bytes: 4096\nwrite_bytes: 512\n"
      "cancelled_write_bytes: 100\n";
  EXPECT_EQ(parse_storage_bytes(text), 4608U);
  EXPECT_EQ(parse_storage_bytes("read_bytes: 4096\n"), std::nullopt);
  EXPECT_EQ(parse_storage_bytes("read_bytes: x\nwrite_bytes: 1\n"), std::nullopt);
  EXPECT_TRUE(read_storage_bytes(Pid{::getpid()}));
  EXPECT_FALSE(read_storage_bytes(Pid{4'999'999}));
}

TEST(ParseStat, ANameMayHoldAnything) {
  for (const char* name : {"", " ", "a b", ")", "(", ") R 1 (", "a) S 1 2 3", "tmux: server",
                           "x\ny", "\n", "))))))))", ") Z 1\n"}) {
    const auto stat = parse_stat(stat_line(name));
    ASSERT_TRUE(stat) << name;
    EXPECT_EQ(stat->name.view(), name);
    EXPECT_EQ(stat->state, 'S') << name;
    EXPECT_EQ(stat->parent, Pid{42}) << name;
  }
}

TEST(ParseStat, ACutLineIsNoAnswer) {
  const std::string line = stat_line("a) b");
  const auto enough = line.find("987654321") + 1;  // a number cut short cannot be told from a whole
  for (std::size_t size = 0; size < enough; ++size)
    EXPECT_FALSE(parse_stat(std::string(line, 0, size))) << size;
}

TEST(ParseStat, RefusesWhatIsNoNumber) {
  for (const char* bad :
       {"1 (x) S", "1 (x) S x 3 4", "1 (x)S 1", "1 x S 1 2", ")(", "1 (x) ", "1 (x) S  1 2",
        "1 (x) S 99999999999 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 5"})
    EXPECT_FALSE(parse_stat(bad)) << bad;
}

TEST(ParsePid, TakesOnlyPositiveNumbers) {
  EXPECT_EQ(parse_pid("1"), Pid{1});
  EXPECT_EQ(parse_pid("4194304"), Pid{4194304});
  for (const char* bad : {"", "0", "-1", "+1", " 1", "1 ", "self", "0x1", "2147483648"})
    EXPECT_FALSE(parse_pid(bad)) << bad;
}

TEST(ReadStat, ReadsOurOwn) {
  const auto stat = read_stat(Pid{::getpid()});
  ASSERT_TRUE(stat) << stat.error().message();
  EXPECT_EQ(stat->parent, Pid{::getppid()});
  EXPECT_EQ(stat->state, 'R');
  EXPECT_GT(stat->start_ticks, 0U);
}

TEST(ReadStat, ReadsARealNameWithBrackets) {
  char before[16] = {};
  ::prctl(PR_GET_NAME, before);
  ::prctl(PR_SET_NAME, "a) R 1\n(b");
  const auto stat = read_stat(Pid{::getpid()});
  ::prctl(PR_SET_NAME, before);
  ASSERT_TRUE(stat) << stat.error().message();
  EXPECT_EQ(stat->parent, Pid{::getppid()});
}

TEST(ReadStat, AProcessThatIsGoneIsAnError) {
  Child child;
  const Pid pid = child.pid();
  child.collect(SIGKILL);
  const auto stat = read_stat(pid);
  ASSERT_FALSE(stat);
  EXPECT_TRUE(stat.error().code.value() == ENOENT || stat.error().code.value() == ESRCH);
}

TEST(ReadCommand, JoinsTheWordsAndNamesAZombie) {
  Child child;
  auto command = read_command(child.pid());
  ASSERT_TRUE(command);
  EXPECT_NE(command->find("test_os"), std::string::npos);
  EXPECT_EQ(command->find('\0'), std::string::npos);
  EXPECT_EQ(read_command(child.pid(), 4)->size(), 4U);
  ::kill(child.pid().number, SIGKILL);
  ASSERT_TRUE(within([&] { return read_stat(child.pid())->state == 'Z'; }));
  command = read_command(child.pid());
  ASSERT_TRUE(command);
  EXPECT_EQ(*command, "[test_os]");
}

TEST(ReadUid, IsOurs) {
  const auto uid = read_uid(Pid{::getpid()});
  ASSERT_TRUE(uid) << uid.error().message();
  EXPECT_EQ(*uid, ::getuid());
}

std::vector<Pid> children_of(Pid parent) {
  std::vector<Pid> children;
  const auto listed = for_each_child(parent, [&](Pid pid) { children.push_back(pid); });
  EXPECT_TRUE(listed) << listed.error().message();
  std::ranges::sort(children);
  return children;
}

TEST(ForEachChild, FindsEachRealChildOnce) {
  EXPECT_TRUE(children_of(Pid{::getpid()}).empty());
  {
    const Child one;
    const Child two;
    auto wanted = std::vector{one.pid(), two.pid()};
    std::ranges::sort(wanted);
    EXPECT_EQ(children_of(Pid{::getpid()}), wanted);
    EXPECT_TRUE(children_of(one.pid()).empty());
  }
  EXPECT_TRUE(children_of(Pid{::getpid()}).empty());
}

TEST(ForEachProcess, SeesUsAndOurParent) {
  int seen = 0;
  ASSERT_TRUE(for_each_process([&](Pid pid) { seen += pid == Pid{::getpid()} ? 1 : 0; }));
  EXPECT_EQ(seen, 1);
}

TEST(ForEachEntry, ListsMoreThanOneBufferAndStopsWhenTold) {
  const TempFolder folder;
  for (int n = 0; n < 300; ++n)
    ASSERT_TRUE(Fd::open_at(folder.dir(), ("file-with-a-name-" + std::to_string(n)).c_str(),
                            O_CREAT | O_WRONLY, 0600));
  ASSERT_TRUE(make_directories(folder.path() + "/below", 0700));
  int files = 0;
  int folders = 0;
  for (int twice = 0; twice < 2; ++twice)
    ASSERT_TRUE(for_each_entry(folder.dir(), [&](std::string_view, bool is_folder) {
      ++(is_folder ? folders : files);
      return true;
    }));
  EXPECT_EQ(files, 600);
  EXPECT_EQ(folders, 2);
  int seen = 0;
  ASSERT_TRUE(for_each_entry(folder.dir(), [&](std::string_view, bool) { return ++seen < 7; }));
  EXPECT_EQ(seen, 7);
}

// A child that was executed with @p env and waits.
class Executed {
 public:
  explicit Executed(std::vector<std::string> env) {
    std::vector<char*> list;
    for (auto& variable : env) list.push_back(variable.data());
    list.push_back(nullptr);
    const char* argv[] = {"sleep", "1000", nullptr};
    pid_.number = ::fork();
    if (pid_.number == 0) {
      ::execve("/bin/sleep", const_cast<char**>(argv), list.data());
      ::_exit(127);
    }
    within([&] { return environment_has(pid_, "LAST=1"); });
  }
  ~Executed() {
    ::kill(pid_.number, SIGKILL);
    ::waitpid(pid_.number, nullptr, 0);
  }
  Pid pid() const { return pid_; }

 private:
  Pid pid_;
};

TEST(EnvironmentHas, FindsOneWholeVariable) {
  const Executed child({"GPUWARD_TREE=abc", "OTHER=GPUWARD_TREE=xyz", "EMPTY=", "LAST=1"});
  EXPECT_TRUE(environment_has(child.pid(), "GPUWARD_TREE=abc"));
  EXPECT_TRUE(environment_has(child.pid(), "EMPTY="));
  for (const char* no : {"GPUWARD_TREE=ab", "GPUWARD_TREE=xyz", "TREE=abc", "LAST="})
    EXPECT_FALSE(environment_has(child.pid(), no)) << no;
}

TEST(EnvironmentHas, FindsOneBehindAnythingLarge) {
  for (const std::size_t size :
       {8100UL, 8186UL, 8187UL, 8191UL, 8192UL, 8193UL, 16384UL, 100'000UL}) {
    const Executed child({"BIG=" + std::string(size, 'x'), "GPUWARD_TREE=abc", "LAST=1"});
    EXPECT_TRUE(environment_has(child.pid(), "GPUWARD_TREE=abc")) << size;
    EXPECT_FALSE(environment_has(child.pid(), "GPUWARD_TREE=abd")) << size;
  }
}

TEST(EnvironmentHas, IsFalseForWhoIsGone) {
  EXPECT_FALSE(environment_has(Pid{999'999'999}, "GPUWARD_TREE=abc"));
}

TEST(ReadWords, AreTheCommandLineWithSingleSpacesAsFarAsItFits) {
  std::array<char, 4096> buffer;
  const auto own = read_words(Pid{::getpid()}, buffer);
  EXPECT_NE(own.find("test_os"), own.npos) << own;
  EXPECT_EQ(own.find('\0'), own.npos);
  std::array<char, 4> small;
  EXPECT_EQ(read_words(Pid{::getpid()}, small), own.substr(0, 4));
  EXPECT_TRUE(read_words(Pid{0x3fffffff}, buffer).empty());
}

TEST(ReadStat, KnowsTheSession) {
  const auto stat = read_stat(Pid{::getpid()});
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->session.number, ::getsid(0));
}

}  // namespace
}  // namespace gpuward::os
