// What one decision of the gateway costs with many jobs waiting. Prints microseconds per operation.

#include <chrono>
#include <cstdio>
#include <random>

#include "domain/dispatch.h"

namespace {

using namespace gpuward;
using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration of, std::size_t operations) {
  return std::chrono::duration<double, std::micro>(of).count() / static_cast<double>(operations);
}

void measure(std::size_t waiting) {
  constexpr std::size_t kRounds = 20'000;
  constexpr std::uint32_t kReplicas = 4;
  std::mt19937_64 random(1);
  QueueSettings queue;
  for (auto& of : queue.classes) of.most_jobs = 1U << 20U;
  queue.most_per_caller = 0;
  MemoryPool host;
  std::array<MemoryPool, kReplicas> cards;
  Dispatcher dispatcher({.queue = queue, .limiter = {}}, host);
  Instant now = Instant{} + std::chrono::hours(1);
  for (std::uint32_t i = 0; i < kReplicas; ++i) {
    cards[i].see(24_GiB, {});
    dispatcher.add_replica({i}, &cards[i]);
    dispatcher.ready({i}, now);
  }
  std::uint64_t id = 0;
  std::vector<JobId> running;
  Turn turn;
  Clock::duration arrivals{};
  Clock::duration decisions{};
  Clock::duration places{};
  const auto arrive = [&] {
    const Job job{.id = {++id},
                  .job_class = static_cast<JobClass>(random() % 3),
                  .caller = random() % 64,
                  .session = random() % 4 == 0 ? 1 + random() % 512 : 0,
                  .size = {1 + random() % (8_MiB).count},
                  .arrived = now,
                  .deadline = now + std::chrono::hours(100 + random() % 100)};
    const auto before = Clock::now();
    (void)dispatcher.arrive(job, now);
    arrivals += Clock::now() - before;
  };
  while (dispatcher.waiting() < waiting) arrive();
  arrivals = {};
  for (std::size_t i = 0; i < kRounds; ++i) {
    now += std::chrono::milliseconds(100);
    arrive();
    turn.clear();
    const auto before = Clock::now();
    if (!running.empty()) {
      const std::size_t at = random() % running.size();
      std::swap(running[at], running.back());
      dispatcher.finish(running.back(), JobEnd::done, now);
      running.pop_back();
    }
    dispatcher.pump(now, turn);
    decisions += Clock::now() - before;
    for (const Start& start : turn.start) running.push_back(start.job);
    const auto asked = Clock::now();
    (void)dispatcher.place({id}, now);
    places += Clock::now() - asked;
  }
  std::printf(
      "%6zu waiting, %u replicas: arrival %.2f us, end + next start %.2f us, rank and ETA %.2f "
      "us\n",
      waiting, kReplicas, microseconds(arrivals, kRounds), microseconds(decisions, kRounds),
      microseconds(places, kRounds));
}

}  // namespace

int main() {
  for (const std::size_t waiting : {10U, 1000U, 10'000U}) measure(waiting);
}
