// Scenarios A to D: the limiter and the memory gate against fixed limits, in simulated hours.

#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>

#include "domain/gateway_sim.h"

namespace gpuward {
namespace {

using sim::Scenario;

// All seeds take minutes; the unit tests a few of them.
std::vector<std::uint64_t> seeds() {
  const char* all = std::getenv("GPUWARD_ALL_SEEDS");
  std::vector<std::uint64_t> some{1, 2, 3};
  if (all != nullptr)
    for (std::uint64_t seed = 4; seed <= 20; ++seed) some.push_back(seed);
  return some;
}

struct Fixed {
  std::uint32_t limit = 1;
  double per_hour = 0;
  // The next one, of the first seed that failed.
  double unsafe_per_hour = 0;
};

// The best limit with which no seed runs out of memory.
Fixed best_safe_fixed(const Scenario& scenario) {
  Fixed best;
  for (std::uint32_t limit = 1; limit <= 20; ++limit) {
    std::vector<double> per_hour;
    int failed = 0;
    for (const std::uint64_t seed : seeds()) {
      sim::FixedLimit fixed(limit);
      const auto outcome = sim::Simulation(scenario, seed, fixed).run();
      failed += outcome.out_of_memory;
      if (failed > 0) best.unsafe_per_hour = outcome.per_hour;
      per_hour.push_back(outcome.per_hour);
      if (failed > 0) break;
    }
    if (failed > 0) break;
    const double middle = sim::median(per_hour);
    if (middle > best.per_hour) best = {.limit = limit, .per_hour = middle, .unsafe_per_hour = 0};
  }
  return best;
}

struct Learned {
  double per_hour = 0;
  int out_of_memory = 0;
  double in_flight = 0;
  std::string limits;
};

Learned learned(const Scenario& scenario) {
  Learned all;
  std::vector<double> per_hour;
  for (const std::uint64_t seed : seeds()) {
    sim::Dispatched real(scenario.total_gib);
    const auto outcome = sim::Simulation(scenario, seed, real).run([&](sim::Outcome& so_far) {
      ++so_far.limits[static_cast<int>(real.dispatcher.status({0}).limit)];
    });
    all.out_of_memory += outcome.out_of_memory;
    all.in_flight += outcome.mean_in_flight / static_cast<double>(seeds().size());
    per_hour.push_back(outcome.per_hour);
    if (seed != 1) continue;
    for (const auto& [limit, samples] : outcome.limits)
      all.limits += " " + std::to_string(limit) + ":" + std::to_string(samples / 10) + "s";
  }
  all.per_hour = sim::median(per_hour);
  return all;
}

void print(const Scenario& scenario, const Fixed& fixed, const Learned& real) {
  std::printf(
      "simulated %s: %.0f jobs/h, %d out of memory; best safe fixed limit %u: %.0f jobs/h (one "
      "more: %.0f, unsafe); ratio %.3f; mean in flight %.2f; limits%s\n",
      scenario.name.c_str(), real.per_hour, real.out_of_memory, fixed.limit, fixed.per_hour,
      fixed.unsafe_per_hour, real.per_hour / fixed.per_hour, real.in_flight, real.limits.c_str());
}

class Scenarios : public ::testing::TestWithParam<Scenario> {};

TEST_P(Scenarios, KeepUpWithTheBestSafeFixedLimit) {
  const Scenario& scenario = GetParam();
  const Fixed fixed = best_safe_fixed(scenario);
  const Learned real = learned(scenario);
  print(scenario, fixed, real);
  EXPECT_EQ(real.out_of_memory, 0);
  EXPECT_GE(real.per_hour, 0.97 * fixed.per_hour);
}

INSTANTIATE_TEST_SUITE_P(Simulated, Scenarios, ::testing::ValuesIn(sim::scenarios()),
                         [](const auto& scenario) { return scenario.param.name; });

class Hazards : public ::testing::TestWithParam<Scenario> {};

// Memory that says nothing, grows or stays held, and a process that dies.
TEST_P(Hazards, RunNobodyOutOfMemory) {
  const Scenario& scenario = GetParam();
  const Fixed fixed = best_safe_fixed(scenario);
  const Learned real = learned(scenario);
  print(scenario, fixed, real);
  EXPECT_EQ(real.out_of_memory, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Simulated, Hazards,
    ::testing::Values(Scenario{.name = "AKeepsCache", .keeps_cache = true},
                      Scenario{.name = "AGrows", .growth = 0.01},
                      Scenario{.name = "ACrashes", .crash_at = 1800},
                      Scenario{.name = "AUselessHint", .useful_hint = false},
                      Scenario{.name = "BUselessHint", .job_gib = 7, .useful_hint = false},
                      Scenario{.name = "CUselessHint",
                               .total_gib = 80,
                               .alone = 0.8,
                               .each = 0.2,
                               .useful_hint = false}),
    [](const auto& scenario) { return scenario.param.name; });

}  // namespace
}  // namespace gpuward
