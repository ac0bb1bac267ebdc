#include <gtest/gtest.h>

#include "world.h"

namespace gpuward::gpusim::test {
namespace {

/// A World and a reader of its first card.
class Health : public ::testing::Test {
 protected:
  std::string ask(const std::string& line) {
    reader_->tell(line);
    return reader_->line();
  }
  std::string value(const std::string& call) { return ask("get nvmlDeviceGet" + call); }
  void fault(std::vector<std::string> words) {
    words.insert(words.begin(), "fault");
    ASSERT_EQ(world_.gpusim(words), 0);
  }
  void connect() {
    reader_ = world_.reader({"watch"});
    ASSERT_EQ(ask("init"), "init 0 handle 0");
  }
  void SetUp() override { connect(); }

  World world_{{"--memory", "8GiB"}};
  std::unique_ptr<Child> reader_;
};

TEST_F(Health, AWellCardHasNothingToReport) {
  EXPECT_EQ(ask("fields 3 4 5 6 29 30 31 142 143 144 145 173 179 180 230 269 270 271"),
            "0: 3=0/0, 4=0/0, 5=0/0, 6=0/0, 29=0/0, 30=0/0, 31=0/0, 142=0/0, 143=0/0, 144=0/0, "
            "145=0/0, 173=0/0, 179=0/0, 180=0/0, 230=0/0, 269=0/0, 270=0/0, 271=0/0,");
  EXPECT_EQ(value("CurrentClocksEventReasons"), "0 1") << "idle";
  EXPECT_EQ(value("CurrPcieLinkWidth"), "0 16");
  EXPECT_EQ(value("Temperature 0"), "0 34");
}

TEST_F(Health, AnUnknownFieldIsAnErrorOfItsEntryAlone) {
  EXPECT_EQ(ask("fields 230 9999 145"), "0: 230=0/0, 9999=3/0, 145=0/0,");
}

TEST_F(Health, EachReasonHasItsBitItsCounterAndItsOlderName) {
  const std::pair<const char*, const char*> reasons[] = {
      {"power-cap", "0 4"},         {"hardware-slowdown", "0 8"}, {"sync-boost", "0 16"},
      {"software-thermal", "0 32"}, {"hardware-thermal", "0 64"}, {"power-brake", "0 128"}};
  for (const auto& [name, bit] : reasons) {
    fault({"throttle", "60", "--reason", name});
    EXPECT_EQ(value("CurrentClocksEventReasons"), bit) << name;
    EXPECT_EQ(value("CurrentClocksThrottleReasons"), bit) << name;
    ASSERT_EQ(world_.gpusim({"heal"}), 0);
  }
  // They have all held for a moment, and the counters keep what they counted.
  const std::string counters = ask("fields 74 75 76 77 269 270 271");
  EXPECT_EQ(counters.find("/0,"), std::string::npos) << counters;
  EXPECT_EQ(value("CurrentClocksEventReasons"), "0 1");
  EXPECT_EQ(ask("fields 74 75 76 77 269 270 271"), counters) << "nothing holds any more";
}

TEST_F(Health, OnlyAThermalReasonMakesItHot) {
  fault({"throttle", "60", "--reason", "power-brake"});
  EXPECT_EQ(value("Temperature 0"), "0 34");
  fault({"throttle", "60"});
  EXPECT_EQ(value("Temperature 0"), "0 89");
  fault({"temperature", "95", "--memory", "101"});
  EXPECT_EQ(value("Temperature 0"), "0 95");
  EXPECT_EQ(ask("fields 82"), "0: 82=0/101,");
}

TEST_F(Health, MemoryErrorsRowsAndPagesAddUpUntilHealed) {
  fault({"ecc", "--uncorrected", "2", "--corrected", "7"});
  fault({"ecc", "--uncorrected", "1"});
  fault({"remap", "--uncorrected", "3", "--pending"});
  fault({"remap", "--failed"});
  fault({"retired-pages", "--double", "4", "--pending"});
  EXPECT_EQ(value("TotalEccErrors 1 0"), "0 3");
  EXPECT_EQ(value("TotalEccErrors 0 1"), "0 7");
  EXPECT_EQ(ask("fields 3 4 6 30 31 143 144 145"),
            "0: 3=0/7, 4=0/3, 6=0/3, 30=0/4, 31=0/1, 143=0/3, 144=0/1, 145=0/1,");
  ASSERT_EQ(world_.gpusim({"heal"}), 0);
  EXPECT_EQ(ask("fields 4 144 145"), "0: 4=0/0, 144=0/0, 145=0/0,");
}

TEST_F(Health, ALinkCanBeNarrowSlowAndFaulty) {
  fault({"pcie", "--width", "4", "--generation", "3", "--correctable", "12", "--fatal", "1"});
  EXPECT_EQ(value("CurrPcieLinkWidth"), "0 4");
  EXPECT_EQ(value("MaxPcieLinkWidth"), "0 16");
  EXPECT_EQ(value("CurrPcieLinkGeneration"), "0 3");
  EXPECT_EQ(ask("fields 173 179 180"), "0: 173=0/12, 179=0/0, 180=0/1,");
}

TEST_F(Health, CopiesCountOnTheLinkByTheirDirection) {
  auto client = world_.client({"hold", "1048576"});
  ASSERT_EQ(client->line(), "ready");
  client->tell("trip 1000000");
  ASSERT_EQ(number_after(client->line(), "code"), 0U);
  EXPECT_EQ(ask("fields 197 198"), "0: 197=0/500000, 198=0/1000000,");
  EXPECT_EQ(value("PcieThroughput 0"), "0 0") << "nothing is being copied now";
}

TEST_F(Health, TheRecoveryActionIsAFieldAnEventAndALine) {
  ASSERT_EQ(ask("listen all"), "code 0");
  const std::string log = world_.folder() + "/kmsg";
  fault({"recovery-action", "reboot", "--kmsg", log, "--plain"});
  EXPECT_EQ(ask("event"), "event 0 type 0x8000");
  EXPECT_EQ(ask("fields 230"), "0: 230=0/2,");
  EXPECT_EQ(os::read_file(log).value_or(""),
            "NVRM: Xid (PCI:0000:10:00): 154, pid='<unknown>', name=<unknown>, GPU recovery action "
            "changed from 0x0 (None) to 0x2 (Node Reboot Required)\n");
}

TEST_F(Health, EccErrorsReachOnlyThoseWhoAskedForThem) {
  auto xids_only = world_.reader({"watch"});
  xids_only->tell("init");
  ASSERT_EQ(xids_only->line(), "init 0 handle 0");
  xids_only->tell("listen");
  ASSERT_EQ(xids_only->line(), "code 0");
  ASSERT_EQ(ask("listen all"), "code 0");
  fault({"ecc", "--uncorrected", "1"});
  fault({"xid", "48"});
  EXPECT_EQ(ask("event"), "event 0 type 0x2");
  EXPECT_EQ(ask("event"), "event 0 xid 48");
  xids_only->tell("event");
  EXPECT_EQ(xids_only->line(), "event 0 xid 48");
}

TEST_F(Health, LostDeviceFilesAnswer999InsideOnly) {
  auto outside = world_.reader({"watch"});
  outside->tell("init");
  ASSERT_EQ(outside->line(), "init 0 handle 0");
  fault({"device-cgroup", "--pid", std::to_string(reader_->pid())});
  EXPECT_EQ(ask("name"), "code 999");
  EXPECT_EQ(ask("init"), "init 999 handle 999");
  outside->tell("name");
  EXPECT_EQ(outside->line(), "code 0");
}

TEST_F(Health, RowsCanHideTheirMemory) {
  fault({"foreign-row", "--pid", "4000000", "--memory", "1GiB"});
  fault({"hide-row-memory"});
  EXPECT_EQ(ask("rows 24"), "rows 0 1: 4000000 18446744073709551615,");
}

TEST_F(Health, PowerAndPersistenceCanBeSet) {
  fault({"power", "700"});
  fault({"no-persistence"});
  EXPECT_EQ(value("PowerUsage"), "0 700000");
  EXPECT_EQ(ask("fields 185 186"), "0: 185=0/700000, 186=0/700000,");
  EXPECT_EQ(value("PersistenceMode"), "0 0");
}

TEST_F(Health, WrongValuesAreRefused) {
  EXPECT_EQ(world_.gpusim({"fault", "throttle", "50", "--reason", "boredom"}), 2);
  EXPECT_EQ(world_.gpusim({"fault", "throttle", "50", "--reason", "1"}), 2);
  EXPECT_EQ(world_.gpusim({"fault", "pcie", "--width", "3"}), 2);
  EXPECT_EQ(world_.gpusim({"fault", "recovery-action", "dance"}), 2);
  EXPECT_EQ(world_.gpusim({"fault", "temperature", "1000"}), 2);
}

TEST_F(Health, GpmFollowsFromWork) {
  auto client = world_.client({"hold", "0"});
  ASSERT_EQ(client->line(), "ready");
  client->tell("launch 60000000000");
  ASSERT_EQ(number_after(client->line(), "code"), 0U);
  EXPECT_EQ(ask("gpm 100 1 2 3 5 10 11 172"),
            "0: 1=0/100, 2=0/80, 3=0/50, 5=0/40, 10=0/50, 11=3/0, 172=0/0,");
}

TEST_F(Health, GpmCountsHowOftenContextsTakeTurns) {
  auto first = world_.client({"hold", "0"});
  auto second = world_.client({"hold", "0"});
  for (auto* client : {first.get(), second.get()}) {
    ASSERT_EQ(client->line(), "ready");
    client->tell("launch 60000000000");
    ASSERT_EQ(number_after(client->line(), "code"), 0U);
  }
  const std::string metrics = ask("gpm 200 172");
  ASSERT_EQ(metrics.substr(0, 9), "0: 172=0/") << metrics;
  EXPECT_GE(std::stoi(metrics.substr(9)), 90) << "turns of 2 ms";
}

TEST(Generation, AnAmpereCardHasNoGpm) {
  World world({"--memory", "8GiB", "--generation", "ampere"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  reader->tell("gpm 1 1");
  EXPECT_EQ(reader->line(), "3:");
  reader->tell("get nvmlDeviceGetArchitecture");
  EXPECT_EQ(reader->line(), "0 7");
  reader->tell("get nvmlDeviceGetCudaComputeCapability");
  EXPECT_EQ(reader->line(), "0 8");
}

TEST(Topology, CardsAreNearOrFarFromEachOther) {
  World world({"--memory", "8GiB", "--gpus", "16"});
  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  for (const auto& [other, level] :
       {std::pair("0", "0 0"), {"3", "0 30"}, {"7", "0 40"}, {"8", "0 50"}}) {
    reader->tell(std::string("near ") + other);
    EXPECT_EQ(reader->line(), level) << other;
  }
}

}  // namespace
}  // namespace gpuward::gpusim::test
