#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <sstream>

#include "world.h"

namespace gpuward::gpusim::test {
namespace {

std::map<std::string, int> read_names(World& world) {
  auto reader = world.reader({"names"});
  std::map<std::string, int> codes;
  for (std::string line = reader->line(); !line.empty(); line = reader->line()) {
    std::istringstream words(line);
    std::string name;
    int code = -1;
    words >> name >> code;
    codes[name] = code;
  }
  return codes;
}

TEST(Reader, EveryNameThatKnownReadersLookForAnswers) {
  World world({"--memory", "8GiB"});
  // These need not know the answer, but must exist.
  const std::set<std::string> may_be_unsupported = {"nvmlDeviceGetFanSpeed", "nvmlDeviceGetMigMode",
                                                    "nvmlDeviceGetDriverModel"};
  const auto codes = read_names(world);
  EXPECT_GE(codes.size(), 50U);
  for (const auto& [name, code] : codes) {
    if (name == "nvmlDeviceGetProcessUtilization") {
      EXPECT_EQ(code, 6) << "nobody runs";
    } else if (name == "nvmlDeviceGetSamples") {
      EXPECT_TRUE(code == 0 || code == 6) << "none yet on a card this young";
    } else if (may_be_unsupported.contains(name)) {
      EXPECT_TRUE(code == 0 || code == 3) << name << " " << code;
    } else {
      EXPECT_EQ(code, 0) << name;
    }
  }
}

TEST(Reader, RowsNameTheProcessAndVanishWithIt) {
  World world({"--memory", "8GiB", "--context-memory", "0B", "--accounting"});
  auto client = world.client({"hold", "1048576"});
  ASSERT_EQ(client->line(), "ready");
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  reader->tell("rows 24");
  const std::string pid = std::to_string(client->pid());
  EXPECT_EQ(reader->line(), "rows 0 1: " + pid + " 1048576,");
  client->signal(SIGKILL);
  client->wait();
  // Two lists within 2 ms are one.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  std::string rows;
  do {
    reader->tell("rows 24");
    rows = reader->line();
  } while (rows != "rows 0 0:" && std::chrono::steady_clock::now() < give_up);
  EXPECT_EQ(rows, "rows 0 0:");
  reader->tell("accounting " + pid);
  EXPECT_EQ(reader->line(), "accounting 0 peak 1048576");
}

TEST(Reader, RowsCanHaveAnyStrideAndBelongToStrangers) {
  World world({"--memory", "8GiB", "--context-memory", "0B"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  // One of the rows collides with a process that is innocent: this one.
  const std::string pid = std::to_string(::getpid());
  ASSERT_EQ(world.gpusim({"fault", "foreign-row", "--pid", pid, "--memory", "1MiB"}), 0);
  ASSERT_EQ(world.gpusim({"fault", "foreign-row", "--pid", "4000000", "--memory", "2MiB"}), 0);
  for (const char* stride : {"16", "24", "32"}) {
    ASSERT_EQ(world.gpusim({"fault", "stride", stride}), 0);
    reader->tell(std::string("rows ") + stride);
    EXPECT_EQ(reader->line(), "rows 0 2: " + pid + " 1048576, 4000000 2097152,") << stride;
  }
  EXPECT_EQ(world.shown("memory_used_bytes"), 3U << 20);
  ASSERT_EQ(world.gpusim({"fault", "no-v3"}), 0);
  reader->tell("rows 24");
  EXPECT_EQ(reader->line(), "rows 13 0:");
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  reader->tell("rows 24");
  EXPECT_EQ(reader->line(), "rows 0 0:");
  EXPECT_EQ(world.shown("memory_used_bytes"), 0U);
}

TEST(Reader, AHungCallEndsWithHeal) {
  World world({"--memory", "8GiB"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  ASSERT_EQ(world.gpusim({"fault", "hang", "nvmlDeviceGetName"}), 0);
  reader->tell("name");
  EXPECT_EQ(reader->line(milliseconds(200)), "") << "it hangs";
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  EXPECT_EQ(reader->line(), "code 0");
}

TEST(Reader, ALostCardAndAMismatchedDriverSayWhatTheyAre) {
  World world({"--memory", "8GiB"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  ASSERT_EQ(world.gpusim({"fault", "off-the-bus"}), 0);
  reader->tell("name");
  EXPECT_EQ(reader->line(), "code 15");
  reader->tell("init");
  EXPECT_EQ(reader->line(), "init 0 handle 15");
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  ASSERT_EQ(world.gpusim({"fault", "driver-mismatch"}), 0);
  auto late = world.reader({"watch"});
  late->tell("init");
  EXPECT_EQ(late->line(), "init 18 handle 1");
  reader->tell("name");
  EXPECT_EQ(reader->line(), "code 0") << "who was there before goes on";
}

TEST(Reader, ACardThatNeedsAResetSaysSoUntilItIsHealed) {
  World world({"--memory", "8GiB"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  ASSERT_EQ(world.gpusim({"fault", "reset-required"}), 0);
  reader->tell("name");
  EXPECT_EQ(reader->line(), "code 16");
  reader->tell("init");
  EXPECT_EQ(reader->line(), "init 0 handle 16");
  ASSERT_EQ(world.gpusim({"heal"}), 0);
  reader->tell("name");
  EXPECT_EQ(reader->line(), "code 0");
}

TEST(Reader, AnXidReachesEventSetsAndTheKernelLog) {
  World world({"--memory", "8GiB"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  reader->tell("listen");
  ASSERT_EQ(reader->line(), "code 0");
  reader->tell("event");
  const std::string log = world.folder() + "/kmsg";
  const std::string pid = std::to_string(reader->pid());
  ASSERT_EQ(world.gpusim({"fault", "xid", "31", "--pid", pid, "--kmsg", log}), 0);
  EXPECT_EQ(reader->line(), "event 0 xid 31");
  ASSERT_EQ(world.gpusim({"fault", "xid", "45", "--pid", pid, "--kmsg", log, "--plain"}), 0);
  const std::string text = os::read_file(log).value_or("");
  const std::string head = "NVRM: Xid (PCI:0000:10:00): ";
  EXPECT_EQ(text.substr(0, 4), "4,0,") << text;
  EXPECT_NE(text.find(",-;" + head + "31, pid=" + pid + ", name=sim_reader, Ch 00000008, intr"),
            std::string::npos)
      << text;
  EXPECT_EQ(text.substr(text.find('\n') + 1),
            head + "45, pid=" + pid + ", name=sim_reader, Ch 00000008\n");
}

}  // namespace
}  // namespace gpuward::gpusim::test
