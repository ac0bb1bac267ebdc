// Loads S1 and S2: a serial service and more work than it can do, in simulated hours.

#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <queue>

#include "domain/gateway_sim.h"

namespace gpuward {
namespace {

struct LoadSpec {
  std::string name;
  std::array<double, kJobClasses> per_second;
  double leaves_after = 0;  ///< mean, of interactive clients; 0: they stay
};

struct Tally {
  std::array<double, kJobClasses> came{}, on_time{};
  double wasted = 0, worked = 0, refused = 0;
  double percent(JobClass of) const {
    const auto at = static_cast<std::size_t>(of);
    return 100 * on_time[at] / came[at];
  }
};

/// Four hours of arrivals, then until nobody is left.
class Ward {
 public:
  Ward(LoadSpec load, std::uint64_t seed) : load_(std::move(load)), random_(seed) {
    dispatcher_.add_replica({0}, nullptr);
    dispatcher_.ready({0}, sim::at(0));
    for (std::size_t of = 0; of < kJobClasses; ++of) next_arrival(of, 0);
  }

  Tally run() {
    while (!events_.empty() || busy_ || dispatcher_.waiting() > 0) {
      const double due =
          std::chrono::duration<double>(dispatcher_.next_due() - sim::at(0)).count() + 1e-6;
      const double next = std::min({events_.empty() ? 1e18 : events_.top().when,
                                    busy_ ? ends_ : 1e18, dispatcher_.waiting() > 0 ? due : 1e18});
      now_ = std::max(now_, next);
      if (busy_ && ends_ <= now_) end();
      while (!events_.empty() && events_.top().when <= now_) take_event();
      pump();
    }
    EXPECT_EQ(dispatcher_.in_flight(), 0U);
    return tally_;
  }

 private:
  static constexpr double kHours = 4, kService = 3.4, kSpread = 0.2;
  struct Event {
    double when = 0;
    std::size_t job_class = 0;
    JobId leaves{};
    bool operator<(const Event& other) const { return when > other.when; }
  };
  struct Known {
    std::size_t job_class = 0;
    double deadline = 0;
    bool left = false;
  };

  double exponential(double mean) {
    return std::exponential_distribution<double>(1 / mean)(random_);
  }
  void next_arrival(std::size_t of, double after) {
    const double when = after + exponential(1 / load_.per_second[of]);
    if (when < kHours * 3600) events_.push({.when = when, .job_class = of});
  }

  void take_event() {
    const Event event = events_.top();
    events_.pop();
    if (event.leaves.value != 0) {
      const auto known = jobs_.find(event.leaves.value);
      if (known == jobs_.end()) return;
      known->second.left = true;
      if (dispatcher_.cancel(event.leaves, sim::at(now_)) == Cancelled::waiting) jobs_.erase(known);
      return;
    }
    next_arrival(event.job_class, now_);
    constexpr std::array<double, kJobClasses> kDeadlines{30, 120, 3600};
    const JobId id{++last_id_};
    ++tally_.came[event.job_class];
    jobs_[id.value] = {.job_class = event.job_class,
                       .deadline = now_ + kDeadlines[event.job_class]};
    if (load_.leaves_after > 0 && event.job_class == 1)
      events_.push({.when = now_ + exponential(load_.leaves_after), .leaves = id});
    const Job job{.id = id,
                  .job_class = static_cast<JobClass>(event.job_class),
                  .arrived = sim::at(now_),
                  .deadline = sim::at(now_ + kDeadlines[event.job_class])};
    const auto arrived = dispatcher_.arrive(job, sim::at(now_));
    if (!arrived) refuse(id);
    if (arrived)
      for (const RefusedJob& gone : arrived->displaced) refuse(gone.id);
  }

  void refuse(JobId id) {
    ++tally_.refused;
    jobs_.erase(id.value);
  }

  void pump() {
    turn_.clear();
    dispatcher_.pump(sim::at(now_), turn_);
    for (const RefusedJob& gone : turn_.refused) refuse(gone.id);
    for (const Start& start : turn_.start) {
      ASSERT_FALSE(busy_);
      busy_ = true;
      current_ = start.job;
      began_ = now_;
      // As long as kService in the mean.
      ends_ = now_ + kService * std::lognormal_distribution<double>(-kSpread * kSpread / 2,
                                                                    kSpread)(random_);
    }
  }

  void end() {
    busy_ = false;
    const Known known = jobs_.at(current_.value);
    jobs_.erase(current_.value);
    tally_.worked += now_ - began_;
    if (known.left || now_ > known.deadline) tally_.wasted += now_ - began_;
    if (!known.left && now_ <= known.deadline) ++tally_.on_time[known.job_class];
    dispatcher_.finish(current_, JobEnd::done, sim::at(now_));
  }

  LoadSpec load_;
  std::mt19937_64 random_;
  MemoryPool host_;
  Dispatcher dispatcher_{{.queue = unbounded(), .limiter = {.most = 1}}, host_};
  static QueueSettings unbounded() {
    QueueSettings settings;
    for (auto& of : settings.classes) of.most_jobs = 100'000;
    return settings;
  }
  std::priority_queue<Event> events_;
  std::map<std::uint64_t, Known> jobs_;
  Turn turn_;
  Tally tally_;
  bool busy_ = false;
  JobId current_{};
  double now_ = 0, began_ = 0, ends_ = 0;
  std::uint64_t last_id_ = 0;
};

struct Percent {
  std::array<double, kJobClasses> on_time{};
  double wasted = 0, refused = 0;
};

Percent run(const LoadSpec& load) {
  const std::uint64_t seeds = std::getenv("GPUWARD_ALL_SEEDS") != nullptr ? 20 : 5;
  std::array<std::vector<double>, kJobClasses> on_time;
  std::vector<double> wasted;
  std::vector<double> refused;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const Tally tally = Ward(load, seed).run();
    double came = 0;
    for (std::size_t of = 0; of < kJobClasses; ++of) {
      on_time[of].push_back(tally.percent(static_cast<JobClass>(of)));
      came += tally.came[of];
    }
    wasted.push_back(100 * tally.wasted / tally.worked);
    refused.push_back(100 * tally.refused / came);
  }
  Percent all;
  for (std::size_t of = 0; of < kJobClasses; ++of) all.on_time[of] = sim::median(on_time[of]);
  all.wasted = sim::median(wasted);
  all.refused = sim::median(refused);
  std::printf(
      "simulated %s: on time %.1f / %.1f / %.1f %%, wasted %.1f %%, refused %.1f %% (median of "
      "%d seeds)\n",
      load.name.c_str(), all.on_time[0], all.on_time[1], all.on_time[2], all.wasted, all.refused,
      static_cast<int>(seeds));
  return all;
}

TEST(Overload, ClosedBrowsersAreForgottenAndTheOthersServed) {
  const Percent s1 = run({.name = "S1", .per_second = {0.02, 0.16, 0.14}, .leaves_after = 90});
  EXPECT_GE(s1.on_time[0], 100);
  EXPECT_GE(s1.on_time[1], 91);
  EXPECT_GE(s1.on_time[2], 100);
}

TEST(Overload, WhatCannotFinishInTimeIsNotStarted) {
  const Percent s2 = run({.name = "S2", .per_second = {0.03, 0.28, 0.05}, .leaves_after = 0});
  EXPECT_GE(s2.on_time[0], 100);
  EXPECT_GE(s2.on_time[1], 82);
  EXPECT_GE(s2.on_time[2], 90);
}

}  // namespace
}  // namespace gpuward
