// Whatever comes, leaves, ends and dies: each job ends once, and everything is given back.

#include <gtest/gtest.h>
#include <random>
#include <set>

#include "domain/dispatch.h"

namespace gpuward {
namespace {

using namespace std::chrono_literals;

/// A gateway with four replicas on two cards, and a book of what must be true of its jobs.
class Chaos {
 public:
  explicit Chaos(std::uint64_t seed) : random_(seed) {
    for (MemoryPool& card : cards_) card.see(24_GiB, {});
    host_.see(64_GiB, 4_GiB);
    for (std::uint32_t i = 0; i < kReplicas; ++i) {
      dispatcher_.add_replica({i}, &cards_[i % 2]);
      dispatcher_.ready({i}, now_);
    }
  }

  void step() {
    now_ += std::chrono::milliseconds(pick(400));
    switch (pick(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        arrive();
        break;
      case 4:
      case 5:
      case 6:
        finish_one();
        break;
      case 7:
        cancel_one();
        break;
      case 8:
        look();
        break;
      case 9:
        give_back_one();
        break;
      case 10:
        hold();
        break;
      default:
        disturb();
        break;
    }
    pump();
    check();
  }

  void end() {
    for (std::uint32_t i = 0; i < kReplicas; ++i) dispatcher_.ready({i}, now_);
    for (int i = 0; i < 100'000 && !(waiting_.empty() && flying_.empty()); ++i) {
      now_ += 1s;
      finish_one();
      pump();
      check();
    }
    EXPECT_TRUE(waiting_.empty());
    EXPECT_TRUE(flying_.empty());
    EXPECT_EQ(came_, ended_);
    EXPECT_EQ(dispatcher_.waiting(), 0U);
    EXPECT_EQ(dispatcher_.in_flight(), 0U);
    EXPECT_EQ(dispatcher_.next_due(), Instant::max());
    for (std::size_t of = 0; of < kJobClasses; ++of) {
      EXPECT_EQ(dispatcher_.queue().size(static_cast<JobClass>(of)), 0U);
      EXPECT_EQ(dispatcher_.queue().bytes(static_cast<JobClass>(of)).count, 0U);
    }
    EXPECT_EQ(dispatcher_.queue().callers(), 0U);
    for (const MemoryPool& card : cards_) EXPECT_EQ(card.jobs(), 0U);
    EXPECT_EQ(host_.jobs(), 0U);
    for (std::uint32_t i = 0; i < kReplicas; ++i) {
      const ReplicaStatus status = dispatcher_.status({i});
      EXPECT_EQ(status.in_flight, 0U);
      EXPECT_EQ(status.gpu_reserved.count + status.host_reserved.count, 0U);
    }
    EXPECT_GT(started_, 1000U);
  }

 private:
  static constexpr std::uint32_t kReplicas = 4;
  struct Flying {
    ReplicaId replica;
    bool left = false;
    bool orphan = false;
  };

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  // A member of a map or set, by chance.
  template <class Of>
  std::uint64_t any(const Of& of) {
    auto at = of.lower_bound(pick(last_id_ + 1));
    if (at == of.end()) at = of.begin();
    if constexpr (requires { at->first; }) {
      return at->first;
    } else {
      return *at;
    }
  }

  void arrive() {
    Job job{.id = {++last_id_}, .job_class = static_cast<JobClass>(pick(3)), .arrived = now_};
    job.caller = pick(6);
    job.session = pick(3) == 0 ? 1 + pick(40) : 0;
    job.route = static_cast<std::uint32_t>(pick(3));
    job.size = {pick(4) == 0 ? 0 : 1 + pick((64_MiB).count)};
    job.held = {pick((200_MiB).count)};
    if (pick(4) != 0) job.deadline = now_ + std::chrono::seconds(pick(200));
    ++came_;
    const auto arrived = dispatcher_.arrive(job, now_);
    if (!arrived) {
      ++ended_;
      EXPECT_FALSE(describe(arrived.error()).empty());
      return;
    }
    for (const RefusedJob& gone : arrived->displaced) refused(gone);
    waiting_.insert(job.id.value);
  }

  void refused(const RefusedJob& gone) {
    ASSERT_EQ(waiting_.erase(gone.id.value), 1U) << "refused twice, or while in flight";
    ++ended_;
  }

  void finish_one() {
    if (flying_.empty()) return;
    const std::uint64_t id = any(flying_);
    const Flying flying = flying_.at(id);
    flying_.erase(id);
    static constexpr std::array kEnds{JobEnd::done,   JobEnd::done,      JobEnd::done,
                                      JobEnd::failed, JobEnd::cancelled, JobEnd::out_of_memory};
    const JobEnd end = flying.orphan ? JobEnd::replica_died : kEnds[pick(kEnds.size())];
    ASSERT_TRUE(dispatcher_.finish({id}, end, now_));
    EXPECT_FALSE(dispatcher_.finish({id}, end, now_));
    ++ended_;
  }

  void cancel_one() {
    if (pick(2) == 0 && !waiting_.empty()) {
      const std::uint64_t id = any(waiting_);
      waiting_.erase(id);
      ASSERT_EQ(dispatcher_.cancel({id}, now_), Cancelled::waiting);
      EXPECT_EQ(dispatcher_.cancel({id}, now_), Cancelled::unknown);
      ++ended_;
    } else if (!flying_.empty()) {
      const std::uint64_t id = any(flying_);
      flying_.at(id).left = true;
      ASSERT_EQ(dispatcher_.cancel({id}, now_), Cancelled::in_flight);
    }
  }

  void give_back_one() {
    if (flying_.empty()) return;
    const std::uint64_t id = any(flying_);
    const bool left = flying_.at(id).left;
    ASSERT_EQ(dispatcher_.give_back({id}, now_), !left);
    if (left) return;
    flying_.erase(id);
    waiting_.insert(id);
  }

  void look() {
    const ReplicaId replica{static_cast<std::uint32_t>(pick(kReplicas))};
    const HeldSample held{.held = 4_GiB + Bytes{pick((2_GiB).count)},
                          .peak = 6_GiB + Bytes{pick((6_GiB).count)},
                          .peak_at = now_ - std::chrono::milliseconds(pick(100))};
    dispatcher_.see(replica, {.gpu = held, .host = held}, now_);
  }

  void hold() {
    const std::uint64_t session = 1 + pick(40);
    if (held_.contains(session)) {
      held_.erase(session);
      dispatcher_.release_session(session, now_);
    } else {
      held_.insert(session);
      dispatcher_.hold_session(session, now_);
    }
  }

  void disturb() {
    const ReplicaId replica{static_cast<std::uint32_t>(pick(kReplicas))};
    switch (pick(8)) {
      case 0:
        dispatcher_.drain(replica, now_);
        break;
      case 1: {
        const auto had = dispatcher_.down(replica, now_);
        std::size_t mine = 0;
        for (auto& [id, flying] : flying_)
          if (flying.replica == replica && !flying.orphan) ++mine;
        EXPECT_EQ(had.size(), mine);
        for (const JobId job : had) flying_.at(job.value).orphan = true;
        EXPECT_TRUE(dispatcher_.drained(replica));
        break;
      }
      default:
        dispatcher_.ready(replica, now_);
        break;
    }
  }

  void pump() {
    turn_.clear();
    dispatcher_.pump(now_, turn_);
    for (const RefusedJob& gone : turn_.refused) refused(gone);
    for (const Start& start : turn_.start) {
      ++started_;
      ASSERT_EQ(waiting_.erase(start.job.value), 1U) << "dispatched twice, or after its end";
      ASSERT_TRUE(flying_.try_emplace(start.job.value, Flying{.replica = start.replica}).second);
      const ReplicaStatus status = dispatcher_.status(start.replica);
      EXPECT_EQ(status.state, ReplicaState::ready);
      EXPECT_LE(status.in_flight, status.limit);
    }
  }

  void check() {
    ASSERT_EQ(dispatcher_.waiting(), waiting_.size());
    ASSERT_EQ(dispatcher_.in_flight(), flying_.size());
    ASSERT_EQ(came_, ended_ + waiting_.size() + flying_.size());
    const QueueSettings& most = dispatcher_.queue().settings();
    for (std::size_t of = 0; of < kJobClasses; ++of) {
      // One that was given back keeps its place even where the queue has filled meanwhile.
      ASSERT_LE(dispatcher_.queue().size(static_cast<JobClass>(of)),
                most.classes[of].most_jobs + 100);
    }
    std::array<std::uint32_t, kReplicas> of_replica{};
    for (const auto& [id, flying] : flying_)
      if (!flying.orphan) ++of_replica[flying.replica.value];
    for (std::uint32_t i = 0; i < kReplicas; ++i)
      ASSERT_EQ(dispatcher_.status({i}).in_flight, of_replica[i]);
  }

  std::mt19937_64 random_;
  std::array<MemoryPool, 2> cards_;
  MemoryPool host_;
  Dispatcher dispatcher_{{}, host_};
  Turn turn_;
  Instant now_ = Instant{} + 1h;
  std::set<std::uint64_t> waiting_;
  std::map<std::uint64_t, Flying> flying_;
  std::set<std::uint64_t> held_;
  std::uint64_t last_id_ = 0, came_ = 0, ended_ = 0, started_ = 0;
};

TEST(GatewayProperty, EveryJobEndsOnceAndEverythingIsGivenBack) {
  for (std::uint64_t seed = 1; seed <= 4 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Chaos chaos(seed);
    for (int i = 0; i < 25'000 && !testing::Test::HasFailure(); ++i) chaos.step();
    if (!testing::Test::HasFailure()) chaos.end();
  }
}

// With one job per caller, inside a class, the earliest deadline starts first.
TEST(GatewayProperty, TheEarliestDeadlineOfAClassIsFirst) {
  std::mt19937_64 random(7);
  MemoryPool host;
  Dispatcher dispatcher({.queue = {}, .limiter = {.most = 1}}, host);
  dispatcher.add_replica({0}, nullptr);
  Instant now = Instant{} + 1h;
  dispatcher.ready({0}, now);
  std::map<std::uint64_t, std::pair<JobClass, Instant>> waiting;
  std::optional<JobId> running;
  Turn turn;
  for (std::uint64_t id = 1; id <= 20'000; ++id) {
    now += 1ms;
    const Job job{.id = {id},
                  .job_class = static_cast<JobClass>(random() % 3),
                  .caller = random(),
                  .arrived = now,
                  .deadline = now + 20s + std::chrono::milliseconds(random() % 100'000)};
    if (const auto arrived = dispatcher.arrive(job, now)) {
      for (const RefusedJob& gone : arrived->displaced) waiting.erase(gone.id.value);
      waiting[id] = {job.job_class, *job.deadline};
    }
    // Failed: its duration says nothing, so that nobody is doubtful.
    if (running && random() % 2 == 0)
      dispatcher.finish(*std::exchange(running, {}), JobEnd::failed, now);
    turn.clear();
    dispatcher.pump(now, turn);
    for (const RefusedJob& gone : turn.refused) waiting.erase(gone.id.value);
    for (const Start& start : turn.start) {
      const auto [job_class, deadline] = waiting.at(start.job.value);
      for (const auto& [other, of] : waiting)
        ASSERT_FALSE(of.first == job_class && of.second < deadline) << other;
      waiting.erase(start.job.value);
      running = start.job;
    }
  }
}

// A batch job without a deadline, in a flood of interactive ones that never ends.
TEST(GatewayProperty, NobodyStarvesOnceAged) {
  MemoryPool host;
  Dispatcher dispatcher({.queue = {}, .limiter = {.most = 1}}, host);
  dispatcher.add_replica({0}, nullptr);
  const Instant began = Instant{} + 1h;
  dispatcher.ready({0}, began);
  ASSERT_TRUE(
      dispatcher.arrive({.id = {1}, .job_class = JobClass::batch, .arrived = began}, began));
  std::optional<JobId> running;
  Turn turn;
  Instant now = began;
  for (std::uint64_t id = 2; now < began + 2h; ++id, now += 1s) {
    for (std::uint64_t more = 0; more < 2; ++more)
      (void)dispatcher.arrive({.id = {2 * id + more}, .arrived = now}, now);
    if (running) dispatcher.finish(*running, JobEnd::failed, now);
    running.reset();
    turn.clear();
    dispatcher.pump(now, turn);
    for (const Start& start : turn.start) {
      if (start.job == JobId{1}) {
        EXPECT_GE(now, began + 10min);
        // From its key on whoever comes is behind it; before it is what waited then, 200 at most.
        EXPECT_LE(now, began + 1h + 200s);
        return;
      }
      running = start.job;
    }
  }
  FAIL() << "it never started";
}

}  // namespace
}  // namespace gpuward
