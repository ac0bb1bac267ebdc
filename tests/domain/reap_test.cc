#include "domain/reap.h"

#include <gtest/gtest.h>
#include <random>

#include "domain/stranger_rule.h"

namespace gpuward {
namespace {

using std::chrono::hours;

HolderReport holder(pid_t pid, HolderVerdict verdict, const std::string& service = "") {
  HolderReport one;
  one.id = {Pid{pid}, 7};
  one.gpu = "GPU-1";
  one.memory = 1_GiB;
  one.verdict = verdict;
  one.service = service;
  return one;
}

bool never(const HolderReport&) {
  return false;
}
bool always(const HolderReport&) {
  return true;
}

const std::vector<HolderReport> kAll = {
    holder(1, HolderVerdict::orphan, "xray"), holder(2, HolderVerdict::idle_holder, "web"),
    holder(3, HolderVerdict::stranger), holder(4, HolderVerdict::owned, "web"),
    holder(5, HolderVerdict::cannot_see)};

std::vector<pid_t> ended(const std::vector<ReapItem>& items) {
  std::vector<pid_t> pids;
  for (const auto& item : items)
    if (item.ends) pids.push_back(item.holder.id.pid.number);
  return pids;
}
using Pids = std::vector<pid_t>;

TEST(Reap, UnnamedOnlyOrphansGoAndStrangersOfARule) {
  EXPECT_EQ(ended(choose(kAll, {}, never)), Pids{1});
  EXPECT_EQ(ended(choose(kAll, {}, always)), (Pids{1, 3}));
}

TEST(Reap, AnIdleHolderGoesByNameAlone) {
  EXPECT_EQ(ended(choose(kAll, {.services = {}, .pids = {Pid{2}}}, always)), Pids{2});
  EXPECT_EQ(ended(choose(kAll, {.services = {"web"}, .pids = {}}, always)), Pids{2});
  EXPECT_EQ(choose(kAll, {}, never)[1].why, "only where you name it: gpuward reap 2");
}

TEST(Reap, AStrangerIsNotEndedByItsNumberAndNoRule) {
  EXPECT_EQ(ended(choose(kAll, {.services = {}, .pids = {Pid{3}}}, never)), Pids{});
}

TEST(Reap, WhatRunsOrCannotBeSeenIsNeverEnded) {
  const ReapOrder order{.services = {"web", "xray"}, .pids = {Pid{4}, Pid{5}}};
  const auto items = choose(kAll, order, always);
  EXPECT_EQ(ended(items), (Pids{1, 2}));
  EXPECT_FALSE(items[4].named) << "its number may be an innocent's here";
}

// harm.md 1 and 8.
TEST(Reap, WhatMustStayStaysWhoeverOrdersIt) {
  auto all = kAll;
  for (auto& one : all) one.refused = "it is a client of MPS";
  EXPECT_EQ(ended(choose(all, {}, always)), Pids{});
  const ReapOrder order{.services = {"web", "xray"}, .pids = {Pid{1}, Pid{2}, Pid{3}}};
  const auto items = choose(all, order, always);
  EXPECT_EQ(ended(items), Pids{});
  EXPECT_EQ(items[0].why, "it is a client of MPS");
}

// They are ended as `stop` ends a service: in one.
TEST(Reap, OneOrphanThatMustStayKeepsAllOfItsService) {
  auto client = holder(11, HolderVerdict::orphan, "xray");
  client.refused = "it is a client of MPS";
  const std::vector<HolderReport> all = {holder(10, HolderVerdict::orphan, "xray"), client,
                                         holder(12, HolderVerdict::orphan, "other")};
  for (const ReapOrder& order : {ReapOrder{}, ReapOrder{.services = {"xray", "other"}, .pids = {}},
                                 ReapOrder{.services = {}, .pids = {Pid{10}, Pid{12}}}}) {
    const auto items = choose(all, order, always);
    EXPECT_EQ(ended(items), Pids{12});
    EXPECT_EQ(items[0].why,
              "what is left of 'xray' is ended together, and pid 11 must stay: it is a client of "
              "MPS");
    EXPECT_EQ(items[1].why, "it is a client of MPS");
  }
}

TEST(Reap, NamingOneOrphanMeansAllOfItsServiceAndTheListSaysSo) {
  const std::vector<HolderReport> all = {holder(10, HolderVerdict::orphan, "xray"),
                                         holder(11, HolderVerdict::orphan, "xray"),
                                         holder(12, HolderVerdict::orphan, "other")};
  const auto items = choose(all, {.services = {}, .pids = {Pid{11}}}, never);
  EXPECT_EQ(ended(items), (Pids{10, 11}));
  EXPECT_EQ(items[0].why, "what is left of 'xray' is ended together, and you named pid 11");
  EXPECT_EQ(items[1].why, "ours, and over");
  EXPECT_EQ(items[2].why, "not named");
}

// harm.md: another replica serves.
TEST(Reap, NothingIsEndedOfAServiceOfWhichSomethingRuns) {
  for (const auto verdict : {HolderVerdict::owned, HolderVerdict::idle_holder}) {
    const std::vector<HolderReport> all = {holder(10, HolderVerdict::orphan, "xray"),
                                           holder(11, verdict, "xray")};
    EXPECT_EQ(ended(choose(all, {}, always)), Pids{});
    const auto items = choose(all, {.services = {}, .pids = {Pid{10}}}, never);
    EXPECT_FALSE(items[0].ends);
    EXPECT_EQ(items[0].why,
              "service 'xray' runs too (pid 11), and ending what is left of it would stop it");
  }
}

TEST(Reap, OneProcessOnTwoCardsIsOneItem) {
  auto second = holder(1, HolderVerdict::orphan, "xray");
  second.gpu = "GPU-2";
  second.refused = "it is a client of MPS";
  const auto items = choose({holder(1, HolderVerdict::orphan, "xray"), second}, {}, never);
  ASSERT_EQ(items.size(), 1U);
  EXPECT_EQ(items[0].holder.memory, 2_GiB);
  EXPECT_FALSE(items[0].ends) << "what holds on one card holds";
}

// Ends run one after another: what was shown may be minutes old when its turn comes.
TEST(Reap, WhatHasChangedSinceItWasShownIsNotEnded) {
  const ReapOrder order{.services = {"web", "xray"}, .pids = {}};
  const auto shown = choose(kAll, order, always);
  const auto after = [&](auto change) {
    auto later = kAll;
    change(later);
    std::vector<ReapItem> changed;
    const auto now = choose(later, order, always);
    const auto same = ended(still_so(shown, now, &changed));
    std::string said;
    for (const auto& item : changed) said += what_changed(item, now) + "|";
    return std::pair(same, said);
  };
  EXPECT_EQ(after([](auto&) {}), std::pair(Pids({1, 2}), std::string()));
  EXPECT_EQ(after([](auto& all) { all.erase(all.begin()); }),
            std::pair(Pids{2}, std::string("it holds no GPU memory any more|")));
  EXPECT_EQ(after([](auto& all) { all[0].id.start_ticks = 8; }).first, Pids{2}) << "a number alone";
  EXPECT_EQ(after([](auto& all) { all[0].service = "web2"; }).first, Pids{2});
  EXPECT_EQ(after([](auto& all) { all[0].refused = "no"; }).first, Pids{2});
  const auto [same, said] = after([](auto& all) {
    all[1].verdict = HolderVerdict::owned;
    all[1].sentence = "of service 'web'";
  });
  EXPECT_EQ(same, Pids{1});
  EXPECT_EQ(said,
            "since it was shown this has changed: of service 'web'; its service runs: gpuward stop "
            "web|");
}

TEST(Reap, ANameThatNobodyHasIsTold) {
  const ReapOrder order{.services = {"web", "wbe", "x", "wbe"}, .pids = {Pid{1}}};
  EXPECT_EQ(unknown_services(order, {"web", "xray"}), (std::vector<std::string>{"wbe", "x"}));
  EXPECT_TRUE(unknown_services({}, {}).empty());
}

TEST(StrangerRule, EveryPartThatIsWrittenMustHold) {
  auto one = holder(3, HolderVerdict::stranger);
  one.command = "python -m jupyter lab";
  one.uid = 1000;
  one.idle_ms = hours(2) / std::chrono::milliseconds(1);
  const std::string groups = "0::/user.slice/user-1000.slice/session-3.scope\n";
  const auto hit = [&](const StrangerRule& rule) { return names(rule, one, "alice", groups); };
  EXPECT_TRUE(hit({.user = "alice", .command = "*jupyter*", .cgroup = "/user.slice/*"}));
  EXPECT_TRUE(hit({.user = "1000", .command = "*jupyter*", .cgroup = ""}));
  EXPECT_FALSE(hit({.user = "bob", .command = "*jupyter*", .cgroup = ""}));
  EXPECT_FALSE(hit({.user = "", .command = "*vllm*", .cgroup = ""}));
  EXPECT_FALSE(hit({.user = "", .command = "", .cgroup = "/system.slice/*"}));
  EXPECT_FALSE(hit({.user = "alice", .command = "", .cgroup = ""})) << "a user alone is no rule";
  EXPECT_FALSE(hit({.user = "", .command = "*jupyter*", .cgroup = "", .idle = hours(3)}));
  one.idle_ms.reset();
  EXPECT_FALSE(hit({.user = "", .command = "*jupyter*", .cgroup = ""})) << "nobody has watched it";
  EXPECT_TRUE(hit({.user = "", .command = "*jupyter*", .cgroup = "", .idle = hours(0)}));
}

TEST(StrangerRule, NamesStrangersAlone) {
  const StrangerRule rule{.user = "", .command = "*", .cgroup = "", .idle = hours(0)};
  for (const auto verdict : {HolderVerdict::cannot_see, HolderVerdict::owned, HolderVerdict::orphan,
                             HolderVerdict::idle_holder})
    EXPECT_FALSE(names(rule, holder(9, verdict), "", ""));
}

}  // namespace
}  // namespace gpuward
