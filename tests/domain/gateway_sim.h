#pragma once

// A replica on a card, as a fluid model in simulated time: each job works on the CPU, then shares
// the card with the others, then the CPU again; it holds its memory while it is on the card. Used
// to run the real deciding code through hours in milliseconds.

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "domain/dispatch.h"

namespace gpuward::sim {

inline double gib(double count) {
  return count * static_cast<double>((1_GiB).count);
}
inline Duration seconds(double count) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(count));
}
inline Instant at(double count) {
  return Instant{} + std::chrono::hours(1) + seconds(count);
}

struct Scenario {
  std::string name;
  double total_gib = 24, base_gib = 6, job_gib = 4;
  /// n jobs on the card each run at 1 / (alone + each * n) of the speed of one.
  double alone = 0, each = 1;
  bool useful_hint = true;   ///< memory goes with the size of the upload; else with nothing
  bool keeps_cache = false;  ///< like PyTorch: what was allocated once stays held
  double slow_from = 0, slow_to = 0;  ///< half the card is taken away
  double growth = 0;                  ///< of memory per byte, over 100 jobs
  double crash_at = 0;                ///< the process dies once
  double hours = 2;
};

/// Who decides how many go in.
class Admission {
 public:
  virtual ~Admission() = default;
  virtual std::vector<JobId> next(Instant now) = 0;
  virtual void add(const Job& job) = 0;
  virtual std::size_t waiting() const = 0;
  virtual void ended(JobId job, JobEnd end, Instant now) = 0;
  virtual void sample(const HeldSample& /*held*/, Instant /*now*/) {}
  virtual void process(bool /*up*/, Instant /*now*/) {}
};

class FixedLimit : public Admission {
 public:
  explicit FixedLimit(std::uint32_t limit) : limit_(limit) {}
  std::vector<JobId> next(Instant /*now*/) override {
    std::vector<JobId> start;
    for (; up_ && in_flight_ < limit_ && !waiting_.empty(); ++in_flight_) {
      start.push_back(waiting_.back());
      waiting_.pop_back();
    }
    return start;
  }
  void add(const Job& job) override { waiting_.insert(waiting_.begin(), job.id); }
  std::size_t waiting() const override { return waiting_.size(); }
  void ended(JobId /*job*/, JobEnd /*end*/, Instant /*now*/) override { --in_flight_; }
  void process(bool up, Instant /*now*/) override { up_ = up; }

 private:
  std::uint32_t limit_;
  std::uint32_t in_flight_ = 0;
  bool up_ = true;
  std::vector<JobId> waiting_;
};

/// The code under test.
class Dispatched : public Admission {
 public:
  explicit Dispatched(double total_gib) {
    card_.see({static_cast<std::uint64_t>(gib(total_gib))}, {});
    dispatcher.add_replica({0}, &card_);
    dispatcher.ready({0}, at(0));
  }
  std::vector<JobId> next(Instant now) override {
    turn_.clear();
    dispatcher.pump(now, turn_);
    std::vector<JobId> start;
    for (const Start& begun : turn_.start) start.push_back(begun.job);
    return start;
  }
  void add(const Job& job) override {
    if (!dispatcher.arrive(job, job.arrived)) ++refused;
  }
  std::size_t waiting() const override { return dispatcher.waiting(); }
  void ended(JobId job, JobEnd end, Instant now) override { dispatcher.finish(job, end, now); }
  void sample(const HeldSample& held, Instant now) override {
    dispatcher.see({0}, {.gpu = held, .host = {}}, now);
  }
  void process(bool up, Instant now) override {
    if (up) dispatcher.ready({0}, now);
    if (!up) dispatcher.down({0}, now);
  }

 private:
  MemoryPool card_;
  MemoryPool host_;
  Turn turn_;

 public:
  Dispatcher dispatcher{{}, host_};
  std::uint64_t refused = 0;
};

struct Outcome {
  double per_hour = 0;
  int out_of_memory = 0;
  int refused = 0;
  double mean_in_flight = 0;
  std::map<int, int> limits;  ///< limit in force -> samples
};

/// Runs one scenario with a queue that is never empty.
class Simulation {
 public:
  Simulation(const Scenario& scenario, std::uint64_t seed, Admission& admission)
      : scenario_(scenario), random_(seed), admission_(admission) {}

  Outcome run(const std::function<void(Outcome&)>& each_sample = {}) {
    const double end = scenario_.hours * 3600;
    double next_sample = 0;
    while (now_ < end) {
      crash_if_due();
      while (admission_.waiting() < 20) add_job();
      if (up_)
        for (const JobId id : admission_.next(at(now_))) start(id);
      double next = std::min({next_sample, end, next_change()});
      if (!up_) next = std::min(next, up_at_);
      advance(std::max(next, now_));
      finish_stages();
      if (!up_ && now_ >= up_at_) set_up(true);
      if (now_ >= next_sample) {
        sample();
        if (each_sample) each_sample(outcome_);
        next_sample += 0.1;
      }
    }
    outcome_.per_hour = done_ / scenario_.hours;
    outcome_.mean_in_flight /= end;
    return outcome_;
  }

 private:
  enum class Stage : std::uint8_t { before, card, after };
  struct Work {
    JobId id;
    double size = 1, memory = 0;
    Stage stage = Stage::before;
    double until = 0;  // on the CPU
    double left = 0;   // on the card, seconds of it alone
  };
  static constexpr double kBefore = 2.0, kCard = 3.4, kAfter = 0.3, kReload = 45, kDies = 0.05;

  double lognormal() { return std::lognormal_distribution<double>(0, 0.2)(random_); }

  void add_job() {
    const JobId id{++last_id_};
    Work work{.id = id, .size = lognormal()};
    const double drift = 1 + scenario_.growth * static_cast<double>(last_id_) / 100;
    work.memory =
        gib(scenario_.job_gib) * drift * (scenario_.useful_hint ? work.size : lognormal());
    Job job{.id = id, .job_class = JobClass::batch, .arrived = at(now_)};
    job.size = {static_cast<std::uint64_t>(work.size * static_cast<double>((8_MiB).count))};
    waiting_[id.value] = work;
    admission_.add(job);
  }

  void start(JobId id) {
    Work work = waiting_.at(id.value);
    waiting_.erase(id.value);
    work.until = now_ + kBefore * work.size;
    running_.push_back(work);
  }

  double speed() const {
    const auto on_card = std::ranges::count(running_, Stage::card, &Work::stage);
    if (on_card == 0) return 0;
    const bool slow = now_ >= scenario_.slow_from && now_ < scenario_.slow_to;
    return (slow ? 0.5 : 1) / (scenario_.alone + scenario_.each * static_cast<double>(on_card));
  }

  double next_change() const {
    double next = 1e18;
    const double rate = speed();
    for (const Work& work : running_)
      next = std::min(next, work.stage == Stage::card ? now_ + work.left / rate : work.until);
    for (const double change : {scenario_.slow_from, scenario_.slow_to, scenario_.crash_at})
      if (change > now_) next = std::min(next, change);
    return next;
  }

  void advance(double until) {
    const double rate = speed();
    for (Work& work : running_)
      if (work.stage == Stage::card) work.left -= (until - now_) * rate;
    outcome_.mean_in_flight += static_cast<double>(running_.size()) * (until - now_);
    now_ = until;
  }

  void finish_stages() {
    constexpr double kNothing = 1e-9;
    for (std::size_t i = 0; i < running_.size();) {
      Work& work = running_[i];
      if (work.stage == Stage::before && work.until <= now_ + kNothing) {
        if (!enter_card(i)) return;  // it, or all, are gone
        ++i;
      } else if (work.stage == Stage::card && work.left <= kNothing) {
        used_ -= work.memory;
        work.stage = Stage::after;
        work.until = now_ + kAfter * work.size;
        ++i;
      } else if (work.stage == Stage::after && work.until <= now_ + kNothing) {
        const JobId id = work.id;
        running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
        ++done_;
        admission_.ended(id, JobEnd::done, at(now_));
      } else {
        ++i;
      }
    }
  }

  bool enter_card(std::size_t i) {
    Work& work = running_[i];
    const double wanted = gib(scenario_.base_gib) + used_ + work.memory;
    if (wanted > gib(scenario_.total_gib)) {
      ++outcome_.out_of_memory;
      const JobId id = work.id;
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      admission_.ended(id, JobEnd::out_of_memory, at(now_));
      if (std::bernoulli_distribution(kDies)(random_)) set_up(false);
      return false;
    }
    used_ += work.memory;
    work.stage = Stage::card;
    work.left = kCard * work.size;
    if (wanted > peak_) {
      peak_ = wanted;
      peak_at_ = now_;
    }
    return true;
  }

  void crash_if_due() {
    if (scenario_.crash_at == 0 || crashed_ || now_ < scenario_.crash_at) return;
    crashed_ = true;
    set_up(false);
  }

  void set_up(bool up) {
    up_ = up;
    if (!up) {
      up_at_ = now_ + kReload;
      admission_.process(false, at(now_));
      for (const Work& work : running_) admission_.ended(work.id, JobEnd::replica_died, at(now_));
      running_.clear();
      used_ = cache_ = 0;
      return;
    }
    admission_.process(true, at(now_));
  }

  void sample() {
    if (!up_) return;
    cache_ = scenario_.keeps_cache ? std::max({cache_, used_, peak_ - gib(scenario_.base_gib)}) : 0;
    const double held = gib(scenario_.base_gib) + std::max(used_, cache_);
    const auto bytes = [](double count) { return Bytes{static_cast<std::uint64_t>(count)}; };
    admission_.sample({.held = bytes(held),
                       .peak = bytes(std::max(peak_, held)),
                       .peak_at = peak_ > held ? at(peak_at_) : at(now_)},
                      at(now_));
    peak_ = held;
    peak_at_ = now_;
  }

  Scenario scenario_;
  std::mt19937_64 random_;
  Admission& admission_;
  std::map<std::uint64_t, Work> waiting_;
  std::vector<Work> running_;
  Outcome outcome_;
  double now_ = 0, used_ = 0, cache_ = 0, peak_ = 0, peak_at_ = 0, up_at_ = 0;
  bool up_ = true, crashed_ = false;
  std::uint64_t last_id_ = 0;
  double done_ = 0;
};

inline void PrintTo(const Scenario& scenario, std::ostream* out) {
  *out << scenario.name;
}

inline std::vector<Scenario> scenarios() {
  return {{.name = "A"},
          {.name = "B", .job_gib = 7},
          {.name = "C", .total_gib = 80, .alone = 0.8, .each = 0.2},
          {.name = "D", .slow_from = 2400, .slow_to = 4800}};
}

inline double median(std::vector<double> of) {
  std::ranges::sort(of);
  return of[of.size() / 2];
}

}  // namespace gpuward::sim
