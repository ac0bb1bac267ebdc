#include "domain/holder.h"

#include <gtest/gtest.h>
#include <random>

namespace gpuward {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

HolderFacts leftover() {
  HolderFacts facts;
  facts.lineage = Lineage::member;
  facts.service = "xray";
  facts.idle.limit = minutes(10);
  facts.idle.born_after_ready = minutes(3);
  facts.idle.idle_for = minutes(12);
  facts.idle.connections_left = 0;
  return facts;
}

TEST(Holder, WhatAJobLeftBehindIsAnIdleHolder) {
  const auto holding = judge(leftover());
  EXPECT_EQ(holding.verdict, HolderVerdict::idle_holder);
  EXPECT_EQ(holding.sentence,
            "of service 'xray', born 3 min after it was ready, without CPU or GPU for 12 min, and "
            "no client from its birth is left");
}

// Each of these alone is enough: what is not known speaks against it too.
TEST(Holder, AnythingThatSpeaksAgainstItLeavesAProcessAlone) {
  struct Row {
    const char* name;
    void (*change)(HolderFacts&);
  };
  for (const Row& row : {
           Row{"off", [](HolderFacts& f) { f.idle.limit.reset(); }},
           {"not ready, or no readiness", [](HolderFacts& f) { f.idle.born_after_ready.reset(); }},
           {"before READY", [](HolderFacts& f) { f.idle.born_after_ready = -seconds(1); }},
           {"right after READY", [](HolderFacts& f) { f.idle.born_after_ready = kStartUpTail; }},
           {"in the place of one from before", [](HolderFacts& f) { f.idle.start_up_body = true; }},
           {"worked again", [](HolderFacts& f) { f.idle.worked_again = true; }},
           {"not watched", [](HolderFacts& f) { f.idle.idle_for.reset(); }},
           {"not for long", [](HolderFacts& f) { f.idle.idle_for = minutes(10) - seconds(1); }},
           {"connections unknown", [](HolderFacts& f) { f.idle.connections_left.reset(); }},
           {"its client is there", [](HolderFacts& f) { f.idle.connections_left = 1; }},
           {"nobody leads", [](HolderFacts& f) { f.led = false; }},
       }) {
    auto facts = leftover();
    row.change(facts);
    EXPECT_EQ(judge(facts).verdict, HolderVerdict::owned) << row.name;
  }
}

TEST(Holder, LineageAloneMakesAnOrphanOrAStranger) {
  struct Row {
    Lineage lineage;
    HolderVerdict verdict;
    const char* sentence;
  };
  for (const Row& row : {
           Row{Lineage::left_over, HolderVerdict::orphan,
               "left over of service 'xray', which has ended"},
           {Lineage::none, HolderVerdict::stranger, "not started by gpuward"},
           {Lineage::given_up, HolderVerdict::stranger,
            "was of service 'xray' and was handed over on purpose"},
           {Lineage::other_mark, HolderVerdict::stranger,
            "started below a gpuward that no record here tells of, perhaps another install"},
       }) {
    auto facts = leftover();
    facts.lineage = row.lineage;
    EXPECT_EQ(judge(facts).verdict, row.verdict);
    EXPECT_EQ(judge(facts).sentence, row.sentence);
  }
}

TEST(Holder, OfATreeThatNobodyLeadsTheServiceIsStillTheOwner) {
  auto facts = leftover();
  facts.led = false;
  EXPECT_EQ(judge(facts).sentence,
            "of service 'xray', which nobody leads until `gpuward up` takes it over");
}

// harm.md 4: the number may be an innocent's.
TEST(Holder, ANumberOfAnotherPidSpaceIsNobodyWhateverElseIsKnown) {
  std::mt19937 random(7);
  for (int n = 0; n < 10'000; ++n) {
    auto facts = leftover();
    facts.named = false;
    facts.lineage = static_cast<Lineage>(random() % 5);
    facts.led = random() % 2 == 0;
    ASSERT_EQ(judge(facts).verdict, HolderVerdict::cannot_see);
  }
}

// Whatever the facts are: an IDLE_HOLDER was born after READY, is of a led tree, and was watched
// for the whole limit; a STRANGER is never of a tree that runs.
TEST(Holder, NoMixtureOfFactsMakesAStartUpWorkerAnIdleHolder) {
  std::mt19937 random(11);
  const auto some = [&](auto value) {
    return random() % 4 == 0 ? std::nullopt : std::optional(value);
  };
  int found = 0;
  for (int n = 0; n < 200'000; ++n) {
    HolderFacts facts;
    facts.named = random() % 8 != 0;
    facts.lineage = random() % 2 == 0 ? Lineage::member : static_cast<Lineage>(random() % 5);
    facts.led = random() % 4 != 0;
    facts.idle.limit = some(std::chrono::milliseconds(random() % 900'000));
    facts.idle.born_after_ready = some(Duration(seconds(static_cast<int>(random() % 600) - 60)));
    facts.idle.idle_for = some(Duration(seconds(random() % 900)));
    facts.idle.connections_left = some(static_cast<std::uint32_t>(random() % 2));
    facts.idle.start_up_body = random() % 4 == 0;
    facts.idle.worked_again = random() % 4 == 0;
    const auto verdict = judge(facts).verdict;
    ASSERT_FALSE(verdict == HolderVerdict::stranger && facts.lineage == Lineage::member);
    if (verdict != HolderVerdict::idle_holder) continue;
    ++found;
    ASSERT_TRUE(facts.named && facts.led && facts.lineage == Lineage::member);
    ASSERT_GT(*facts.idle.born_after_ready, kStartUpTail);
    ASSERT_GE(*facts.idle.idle_for, *facts.idle.limit);
    ASSERT_EQ(*facts.idle.connections_left, 0U);
    ASSERT_FALSE(facts.idle.start_up_body || facts.idle.worked_again);
  }
  EXPECT_GT(found, 100) << "the test saw none at all";
}

TEST(Holder, TheOriginOfAStrangerIsReadFromItsGroupsAndAncestors) {
  const std::string ours = "0::/user.slice/user-0.slice/session-1.scope\n";
  EXPECT_EQ(origin_of("0::/system.slice/jupyter.service\n", ours, {}).unit, "jupyter.service");
  EXPECT_EQ(origin_of("0::/user.slice/tmux-spawn-1f.scope\n", ours, {"bash", "systemd"}).terminal,
            "tmux");
  EXPECT_EQ(origin_of("0::/\n", ours, {"bash", "tmux: server", "sshd"}).terminal, "tmux");
  EXPECT_EQ(origin_of("0::/\n", ours, {"bash", "SCREEN"}).terminal, "screen");
  EXPECT_EQ(origin_of("0::/\n", ours, {"bash", "sshd-session"}).terminal, "an ssh login");
  const auto none = origin_of("0::/\n", ours, {"bash", "init"});
  EXPECT_TRUE(none.unit.empty() && none.terminal.empty());
}

HolderReport row(HolderVerdict verdict, std::uint64_t bytes) {
  HolderReport holder;
  holder.gpu = "GPU-1";
  holder.memory = Bytes{bytes};
  holder.verdict = verdict;
  return holder;
}

TEST(CardReport, ItsPartsAddUpToWhatIsInUse) {
  GpuDevice device;
  device.uuid = "GPU-1";
  device.memory_used = 100_MiB;
  device.processes_visible = true;
  std::mt19937 random(3);
  for (int n = 0; n < 10'000; ++n) {
    std::vector<HolderReport> holders;
    for (unsigned count = random() % 6; count > 0; --count)
      holders.push_back(row(static_cast<HolderVerdict>(random() % 5), random() % (60U << 20)));
    const auto card = sum_up(device, holders);
    ASSERT_EQ(card.owned + card.orphans + card.idle_holders + card.strangers + card.unnamed +
                  card.phantom,
              card.used);
  }
  const auto card =
      sum_up(device, {row(HolderVerdict::owned, 30 << 20), row(HolderVerdict::stranger, 20 << 20)});
  EXPECT_EQ(card.phantom, 50_MiB);
}

TEST(CardReport, OfRowsThatCannotBeReadNothingIsCalledPhantom) {
  GpuDevice device;
  device.memory_used = 100_MiB;
  EXPECT_EQ(sum_up(device, {}).phantom, Bytes{});
}

TEST(Phantom, SaysWhatIsSeenAndWhatCannotBe) {
  PhantomFacts facts;
  EXPECT_EQ(explain_phantom(facts),
            std::vector<std::string>{"nobody who can be seen has a card open beside the rows"});
  using Why = PhantomFacts::Suspect::Why;
  facts.suspects = {{Pid{7}, "python a.py", Why::leader_ended},
                    {Pid{8}, "python b.py", Why::cannot_end},
                    {Pid{9}, "python c.py", Why::holds_device}};
  facts.more = 2;
  facts.own_pid_namespace = true;
  facts.unreadable = 3;
  facts.cut = true;
  const std::vector<std::string> expected = {
      "pid 7 (python a.py) has ended, but not all of its threads have",
      "pid 8 (python b.py) has the card open and cannot be interrupted (state D)",
      "pid 9 (python c.py) has the card open and is in no row, as a forked child of a holder is",
      "and 2 more of these",
      "processes outside this PID namespace cannot be seen from here",
      "3 processes of other users could not be looked into; as root they can",
      "there was no time to look at every process"};
  EXPECT_EQ(explain_phantom(facts), expected);
}

// In a container whose pids are not the driver's, everybody with the card open is in no row.
TEST(Phantom, AccusesNobodyWhereRowsCannotBeMatched) {
  PhantomFacts facts;
  using Why = PhantomFacts::Suspect::Why;
  facts.suspects = {{Pid{7}, "python a.py", Why::leader_ended},
                    {Pid{9}, "python c.py", Why::holds_device}};
  facts.more = 2;
  facts.rows_of_others = true;
  const std::vector<std::string> expected = {
      "pid 7 (python a.py) has ended, but not all of its threads have",
      "the driver's rows name processes of another PID space: who has the card open and is in no "
      "row cannot be told"};
  EXPECT_EQ(explain_phantom(facts), expected);
}

}  // namespace
}  // namespace gpuward
