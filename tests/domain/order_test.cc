#include "domain/order.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

StartLinks links(std::initializer_list<std::pair<const char*, Names>> needed,
                 std::initializer_list<std::pair<const char*, Names>> after = {}) {
  StartLinks all;
  for (const auto& [name, to] : needed) all[name] = links_of(to, {});
  for (const auto& [name, to] : after)
    for (const auto& link : links_of({}, to)) all[name].push_back(link);
  return all;
}

TEST(StartLinks, ANameInBothIsNeeded) {
  ServiceModel service;
  service.name = "api";
  service.after = {"db", "cache", "cache"};
  service.needs = {"db"};
  const StartLinks expected = {{"api", {{"db", true}, {"cache", false}}}};
  EXPECT_EQ(links_of(std::vector{service, ServiceModel{}}), expected);
}

TEST(StartOrder, GoesAlongTheLinksAndElseByName) {
  const auto all = links({{"api", {"db"}}, {"web", {"api"}}}, {{"db", {"zoo"}}});
  EXPECT_EQ(in_start_order(all, {"web", "db", "api", "zoo", "alone"}),
            (Names{"alone", "zoo", "db", "api", "web"}));
  EXPECT_EQ(in_start_order(all, {"web", "db", "web"}), (Names{"db", "web"}))
      << "who is not named orders nothing";
  EXPECT_EQ(in_start_order(links({{"a", {"b"}}, {"b", {"a"}}}), {"a", "b"}).size(), 2U);
}

TEST(StartOrder, AChainOfEveryServiceIsNoProblem) {
  StartLinks all;
  Names names;
  for (int i = 0; i < 20'000; ++i) {
    names.push_back(std::to_string(i));
    if (i > 0) all[names[static_cast<std::size_t>(i)]] = {{std::to_string(i - 1), true}};
  }
  EXPECT_EQ(in_start_order(all, names), names);
  EXPECT_TRUE(circles(all).empty());
}

TEST(WithNeeded, TakesWhatIsRequiredButNotWhatOnlyComesBefore) {
  const auto all = links({{"api", {"db"}}, {"db", {"disk"}}}, {{"api", {"cache"}}});
  EXPECT_EQ(with_needed(all, {"api"}), (Names{"api", "db", "disk"}));
  EXPECT_EQ(with_needed(all, {"cache"}), (Names{"cache"}));
  EXPECT_EQ(with_needed(links({{"a", {"b"}}, {"b", {"a"}}}), {"a"}), (Names{"a", "b"}));
}

TEST(WhoNeeds, IsTransitiveAndByRequiresAlone) {
  const auto all = links({{"api", {"db"}}, {"web", {"api"}}}, {{"batch", {"db"}}});
  EXPECT_EQ(who_needs(all, "db"), (Names{"api", "web"}));
  EXPECT_TRUE(who_needs(all, "web").empty());
}

TEST(WhoNeeds, IsNamedWithTheCommandThatStopsAll) {
  EXPECT_EQ(not_stopped_text("db", {"api"}),
            "not stopped: required by api, which runs; to stop all of them: gpuward stop api db");
  EXPECT_EQ(not_stopped_text("a", {"b", "c"}),
            "not stopped: required by b, c, which run; to stop all of them: gpuward stop a b c");
}

TEST(Circles, AreNamedInTheOrderOfTheirLinks) {
  EXPECT_TRUE(circles(links({{"c", {"a", "b"}}, {"b", {"a"}}})).empty());
  const auto found = circles(links({{"x", {"a"}}, {"a", {"b"}}}, {{"b", {"c"}}, {"c", {"a"}}}));
  EXPECT_EQ(found, (std::vector<Names>{{"a", "b", "c"}}));
  EXPECT_EQ(circles(links({{"a", {"a"}}})), (std::vector<Names>{{"a"}}));
}

TEST(Circles, WithoutTheLastLinkOfEachThereIsNoneLeft) {
  auto all = links({{"a", {"b", "c"}}, {"b", {"a", "c"}}, {"c", {"b", "d"}}, {"d", {"d", "a"}}});
  const auto found = circles(all);
  EXPECT_GE(found.size(), 4U);
  for (const auto& circle : found)
    std::erase_if(all[circle.back()],
                  [&](const StartLink& link) { return link.to == circle.front(); });
  EXPECT_TRUE(circles(all).empty());
}

TEST(LongestChain, SumsAlongTheLinks) {
  const auto all = links({{"api", {"db"}}, {"web", {"api", "cache"}}});
  const auto own = [](const std::string& name) {
    return name == "cache" ? std::chrono::milliseconds(25s) : std::chrono::milliseconds(10s);
  };
  EXPECT_EQ(longest_chain(all, {"web", "db", "api", "cache"}, own), 35s);
  EXPECT_EQ(longest_chain(all, {"db"}, own), 10s);
  EXPECT_EQ(longest_chain(all, {"db", "api"}, own), 20s);
  EXPECT_EQ(longest_chain(all, {}, own), 0s);
}

struct GateRow {
  Standing at;
  Gate::Way needed;
  Gate::Way after;
};

TEST(Gate, EveryStandingOfTheOneBefore) {
  using Way = Gate::Way;
  for (const auto& row : {GateRow{Standing::ready, Way::open, Way::open},
                          {Standing::coming, Way::wait, Way::wait},
                          {Standing::retried, Way::wait, Way::open},
                          {Standing::failed, Way::closed, Way::open},
                          {Standing::absent, Way::closed, Way::open}}) {
    const auto standing = [&](const std::string&) { return row.at; };
    EXPECT_EQ(gate_of({{"db", true}}, standing).way, row.needed) << static_cast<int>(row.at);
    EXPECT_EQ(gate_of({{"db", false}}, standing).way, row.after) << static_cast<int>(row.at);
  }
}

TEST(Gate, SaysWhatItWaitsForAndWhyNot) {
  const std::map<std::string, Standing> at = {{"db", Standing::coming},
                                              {"cache", Standing::coming},
                                              {"flaky", Standing::retried},
                                              {"broken", Standing::failed},
                                              {"off", Standing::absent}};
  const auto gate = [&](const std::vector<StartLink>& to) {
    return gate_of(to, [&](const std::string& name) { return at.at(name); });
  };
  EXPECT_EQ(gate({{"db", true}}).text, "waits for db");
  EXPECT_FALSE(gate({{"db", true}}).only_retried);
  EXPECT_EQ(gate({{"db", true}, {"off", false}, {"cache", false}}).text, "waits for db, cache");
  EXPECT_EQ(gate({{"flaky", true}}).text, "waits for flaky, which failed and is tried again");
  EXPECT_TRUE(gate({{"flaky", true}}).only_retried);
  EXPECT_EQ(gate({{"db", true}, {"flaky", true}}).text,
            "waits for db, and for flaky, which failed and is tried again");
  EXPECT_EQ(gate({{"db", true}, {"broken", true}}).text, "it requires 'broken', which failed");
  EXPECT_EQ(gate({{"off", true}}).text, "it requires 'off', which does not run");
}

}  // namespace
}  // namespace gpuward
