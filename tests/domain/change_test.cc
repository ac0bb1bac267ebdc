#include "domain/change.h"

#include <gtest/gtest.h>

namespace gpuward {
namespace {

using namespace std::chrono_literals;

ServiceModel model() {
  ServiceModel service;
  service.name = "xray";
  service.command = {"python", "app.py"};
  service.env = {{"TOKEN", "secret"}, {"LEVEL", "1"}};
  return service;
}

TEST(Compare, NothingChangedIsNothingToSay) {
  EXPECT_TRUE(compare(model(), model()).empty());
}

TEST(Compare, SaysWhatHoldsAtOnceAndWhatWaits) {
  auto after = model();
  after.command.emplace_back("--fast");
  after.backoff.max = 30s;
  const auto changes = compare(model(), after);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].field, "command");
  EXPECT_EQ(changes[0].from, "python app.py");
  EXPECT_EQ(changes[0].to, "python app.py --fast");
  EXPECT_EQ(changes[0].effect, Effect::restart);
  EXPECT_EQ(changes[1].field, "backoff.max");
  EXPECT_EQ(changes[1].effect, Effect::live);
}

TEST(Compare, HealingAndHooksHoldAtOnce) {
  auto after = model();
  after.heal = HealMode::act;
  after.heal_budget = 1;
  after.hooks = {{"failed", {"/bin/tell"}}};
  const auto changes = compare(model(), after);
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].field + " " + changes[0].from + " " + changes[0].to, "heal observe act");
  EXPECT_EQ(changes[2].field, "hooks.failed");
  EXPECT_EQ(changes[2].to, "/bin/tell");
  for (const auto& change : changes) EXPECT_EQ(change.effect, Effect::live) << change.field;
  EXPECT_EQ(process_mark(model()), process_mark(after)) << "no process is made of it";
}

TEST(Compare, NeverTellsAValueOfTheEnvironment) {
  auto after = model();
  after.env = {{"TOKEN", "geheim"}, {"NEW", "hidden"}};
  const auto changes = compare(model(), after);
  ASSERT_EQ(changes.size(), 3U);
  std::string all;
  for (const auto& change : changes) all += change.field + change.from + change.to;
  for (const char* value : {"secret", "geheim", "hidden"})
    EXPECT_EQ(all.find(value), std::string::npos) << all;
  EXPECT_EQ(changes[1].field, "env.NEW");
  EXPECT_EQ(changes[1].to, "set");
}

// What a field does to the mark must be what compare() says of it, or a restart would be forgotten.
TEST(ProcessMark, ChangesExactlyWithWhatWaitsForARestart) {
  using Change = void (*)(ServiceModel&);
  const Change changes[] = {
      [](ServiceModel& s) { s.command[0] = "python3"; },
      [](ServiceModel& s) { s.command = {"python app.py"}; },
      [](ServiceModel& s) { s.directory = "/srv"; },
      [](ServiceModel& s) { s.env[0].value = "x"; },
      [](ServiceModel& s) { s.venv = "/v"; },
      [](ServiceModel& s) { s.ready.kind = ReadyKind::notify; },
      [](ServiceModel& s) { s.ready.within = 5s; },
      [](ServiceModel& s) { s.live.kind = LiveKind::notify; },
      [](ServiceModel& s) { s.live.every = 5s; },
      [](ServiceModel& s) { s.live.failures = 9; },
      [](ServiceModel& s) { s.grace = 1s; },
      [](ServiceModel& s) { s.drain = 1s; },
      [](ServiceModel& s) { s.restart = RestartPolicy::always; },
      [](ServiceModel& s) { s.backoff.first = 2s; },
      [](ServiceModel& s) { s.log.rate = Bytes{5000}; },
      [](ServiceModel& s) { s.rights.user = "xray"; },
      [](ServiceModel& s) { s.rights.nice = 3; },
      [](ServiceModel& s) { s.containment = ContainmentWish::pidns; },
      [](ServiceModel& s) { s.containment = ContainmentWish::subreaper; },
      [](ServiceModel& s) { s.on_anchor_death = OnAnchorDeath::kill; },
      [](ServiceModel& s) { s.pid_file = "/run/x.pid"; },
      [](ServiceModel& s) { s.autostart = false; },
      [](ServiceModel& s) { s.limits.cpu_weight = 50; },
      [](ServiceModel& s) { s.limits.memory_max = 64_MiB; },
      [](ServiceModel& s) { s.private_tmp = true; },
      [](ServiceModel& s) { s.private_tmp_max_age.reset(); },
      [](ServiceModel& s) { s.private_tmp_max_age = std::chrono::hours(1); },
      [](ServiceModel& s) { s.release = {"* worker *"}; },
      [](ServiceModel& s) { s.after = {"db"}; },
      [](ServiceModel& s) { s.needs = {"db"}; },
  };
  for (const auto change : changes) {
    auto after = model();
    change(after);
    const auto found = compare(model(), after);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].effect == Effect::restart, process_mark(model()) != process_mark(after))
        << found[0].field;
  }
}

// Groups are joined at birth: another value holds at once, a limit that is new or gone waits.
TEST(Compare, ALimitOfTheTreeChangesLiveWhereThereWasOne) {
  auto before = model();
  before.limits = {.cpu_weight = 100, .memory_max = 64_MiB};
  auto after = before;
  after.limits = {.cpu_weight = 200, .memory_max = Bytes{(64_MiB).count + 1}};
  const auto changes = compare(before, after);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].field, "cpu_weight");
  EXPECT_EQ(changes[0].effect, Effect::live);
  EXPECT_EQ(changes[1].field, "memory_max");
  EXPECT_EQ(changes[1].effect, Effect::live);
  EXPECT_EQ(process_mark(before), process_mark(after));
  after.limits = {};
  for (const auto& change : compare(before, after)) {
    EXPECT_EQ(change.effect, Effect::restart) << change.field;
    EXPECT_EQ(change.to, "none");
  }
  EXPECT_NE(process_mark(before), process_mark(after));
}

// A mark stands in the record of an anchor that an earlier version started.
TEST(ProcessMark, OfAServiceWithoutLaterKeysIsWhatItWas) {
  EXPECT_EQ(process_mark(model()), 0x11bdcaea1f0433d8ULL);
}

}  // namespace
}  // namespace gpuward
