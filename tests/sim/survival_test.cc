#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>

#include "world.h"

/// Participants are killed and frozen at random instants beside clients that go on working.
/// Sums must be exact, and no operation of a living client may be held up.
namespace gpuward::gpusim::test {
namespace {

constexpr std::uint64_t kHeldNs = 50'000'000;
constexpr unsigned kSteady = 2;

std::uint64_t choose_seed() {
  const char* given = std::getenv("GPUSIM_TEST_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("seed %llu (GPUSIM_TEST_SEED repeats it)\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// Lets the time of a random instant pass; there is no event to wait for.
void pass(std::chrono::microseconds time) {
  const timespec span = {time.count() / 1'000'000, time.count() % 1'000'000 * 1000};
  ::ppoll(nullptr, 0, &span, nullptr);
}

struct Survivors {
  World world{{"--memory", "64GiB", "--context-memory", "0B", "--return-delay", "1ms"}};
  std::vector<std::unique_ptr<Child>> steady;

  explicit Survivors(bool namespaces = false) {
    for (unsigned i = 0; i < kSteady; ++i) {
      steady.push_back(world.client({"churn", std::to_string(i)}, namespaces));
    }
    for (auto& client : steady) EXPECT_EQ(client->line(), "ready");
  }

  /// Stops the steady clients' work and holds what they say against what the card says.
  void judge(const char* what) {
    std::uint64_t holds = 0;
    for (auto& client : steady) client->tell("stop");
    for (auto& client : steady) {
      const std::string line = client->line();
      std::printf("%s: %s\n", what, line.c_str());
      ASSERT_GT(number_after(line, "operations"), 0U) << line;
      EXPECT_LE(number_after(line, "held_ns"), kHeldNs);
      holds += number_after(line, "holds");
    }
    EXPECT_TRUE(world.wait_shown("memory_used_bytes", holds)) << world.show();
    EXPECT_EQ(world.shown("participants"), kSteady);
    steady.clear();
    EXPECT_TRUE(world.wait_shown("memory_used_bytes", 0)) << world.show();
    EXPECT_NE(world.show().find("\"contexts\": []"), std::string::npos);
  }
};

void kill_at_random(unsigned kills, unsigned victims, bool namespaces) {
  std::mt19937_64 random(choose_seed());
  Survivors survivors(namespaces);
  const auto start = [&] {
    return survivors.world.client({"churn", std::to_string(random() % 1000)}, namespaces);
  };
  std::vector<std::unique_ptr<Child>> crowd;
  while (crowd.size() < victims) crowd.push_back(start());
  for (unsigned done = 0; done < kills; ++done) {
    auto& victim = crowd[random() % victims];
    // Some die before they have a context, most in the middle of their work.
    if (random() % 4 != 0) victim->line();
    pass(std::chrono::microseconds(random() % 4000));
    victim->signal(SIGKILL);
    victim->wait();
    victim = start();
  }
  crowd.clear();
  survivors.judge("after the kills");
}

TEST(Survival, AThousandKillsLeaveExactSumsAndHoldNobodyUp) {
  kill_at_random(1000, 4, false);
}

TEST(Survival, SoDoClientsThatArePidOneOfDifferentNamespaces) {
  if (!can_unshare()) GTEST_SKIP() << "no right to make PID namespaces here";
  kill_at_random(150, 3, true);
}

TEST(Survival, AThousandFreezesHoldNobodyUp) {
  std::mt19937_64 random(choose_seed());
  Survivors survivors;
  constexpr unsigned kVictims = 12;
  std::vector<std::unique_ptr<Child>> crowd;
  crowd.reserve(kVictims);
  for (unsigned i = 0; i < kVictims; ++i) {
    crowd.push_back(survivors.world.client({"churn", std::to_string(i)}));
  }
  for (auto& victim : crowd) ASSERT_EQ(victim->line(), "ready");
  // Each freeze outlasts the bound, so that whoever waited for the frozen one would be seen.
  unsigned freezes = 0;
  while (freezes < 1000) {
    for (auto& victim : crowd) {
      victim->signal(SIGSTOP);
      ++freezes;
      pass(std::chrono::microseconds(random() % 1000));
    }
    pass(std::chrono::milliseconds(60));
    for (auto& victim : crowd) {
      victim->signal(SIGCONT);
      pass(std::chrono::microseconds(random() % 1000));
    }
  }
  crowd.clear();
  survivors.judge("after the freezes");
}

}  // namespace
}  // namespace gpuward::gpusim::test
