#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/units.h"
#include "domain/job.h"
#include "domain/service_times.h"
#include "domain/wait_tree.h"

namespace gpuward {

// clang-format off
// Who waits for one service, and in which order. Pure; time is an argument.
//
// A job that waits stands at one *level*, on one *lane*:
//
//   level  emergency < interactive < batch, each once more for its *doubtful* jobs, that may but need not
//          finish in time: they start when nobody of their class with better prospects waits
//   lane   0 for whoever may go to any replica, else that of the replica its session is bound to
//
//            arrive                  age_after (batch only)
//   (new) -------------> batch ----------------------------> interactive      emergency
//     |  refused:                \                             |    |            |
//     |  full, quota, too late    \      found doubtful        v    v            v
//     v                            +-----------------------> the same, doubtful
//   RefusedJob <--- time has run out, or a more urgent one needs the place --- any of these
//                   forgotten (cancel: the client has left) ------------------- any of these
//                   taken (a replica has room) -------------------------------- any of these
//
// - Inside a level the earliest *key* is first. It is the deadline (without one: arrival + what the
//   class usually has), but a caller's next job stands at least fair_step behind the one of its own that
//   waits before it: with one job per caller this is earliest deadline first, with many it goes round.
// - An aged batch job keeps its key, so it is before every interactive job with a later deadline, and
//   nothing that arrives later than that can delay it but emergencies, which are capped.
// - Whoever may not be refused (nobody knows how long it takes) waits until its deadline.
// clang-format on

struct QueueSettings {
  struct Class {
    std::uint32_t most_jobs = 200;
    Bytes most_bytes = 4_GiB;
    std::chrono::milliseconds deadline{};  ///< of jobs that bring none; also the scale of fairness
    friend bool operator==(const Class&, const Class&) = default;
  };
  std::array<Class, kJobClasses> classes{{
      {.deadline = std::chrono::seconds(30)},
      {.deadline = std::chrono::seconds(120)},
      {.deadline = std::chrono::hours(1)},
  }};
  std::chrono::milliseconds age_after{600'000};
  std::uint32_t most_per_caller = 100;  ///< jobs that wait, over all classes; 0: as many as fit
  /// A caller's next job stands behind its last one by the class's deadline divided by this.
  std::uint32_t fair_share = 16;

  friend bool operator==(const QueueSettings&, const QueueSettings&) = default;
};

/// What the queue must know of the replicas to tell how long it takes.
struct Pace {
  double at_once = 1;               ///< jobs that are worked on at a time, as measured; > 0
  Duration in_flight{};             ///< work that is left in these
  std::uint32_t free{};             ///< places that are free
  std::optional<Duration> usual{};  ///< a guess for jobs whose duration is unknown
};

/// A job that waits. Belongs to the queue.
struct WaitingJob : WaitNode {
  Job job;
  std::uint8_t level = 0;
  std::uint32_t lane = 0;
  Instant due;                     ///< when its timer rings
  std::optional<Instant> blocked;  ///< since when memory keeps it, first of all, from starting
};

/// What a job that has left the queue needs to come back to its place.
struct Ticket {
  Job job;
  Instant key;
  std::uint64_t seq = 0;
};

struct Place {
  std::uint64_t rank = 0;         ///< so many are before it
  std::optional<Duration> eta{};  ///< until it starts; absent while nothing is known
};

class JobQueue {
 public:
  static constexpr std::size_t kLevels = 2 * kJobClasses;
  static constexpr std::uint32_t kAnyLane = 0;

  explicit JobQueue(QueueSettings settings) : settings_(settings) {}
  JobQueue(JobQueue&&) = default;
  JobQueue& operator=(JobQueue&&) = default;

  /// Takes @p job in, or says why not. @p displaced: those that had to leave for it; each client
  /// must be told.
  std::expected<void, Refusal> arrive(const Job& job, std::uint32_t lane, const ServiceTimes& times,
                                      const Pace& pace, Instant now,
                                      std::vector<RefusedJob>& displaced);
  /// Back into the place it had: it was given to a replica that did not begin it. Never refused.
  void come_back(const Ticket& ticket, std::uint32_t lane, const ServiceTimes& times, Instant now);
  /// Its client has left. False: it does not wait here.
  bool forget(JobId id);
  /// It starts: no longer here.
  Ticket take(const WaitingJob& waiting);
  /// What time alone does: jobs age, and those that can no longer finish are refused.
  void pass_time(Instant now, const ServiceTimes& times, std::vector<RefusedJob>& refused);
  /// When pass_time() has something to do next; Instant::max() when never.
  Instant next_due() const;
  /// For what can no longer finish, found at its turn.
  Refusal too_late(const WaitingJob& waiting, const ServiceTimes& times, Instant now) const;
  /// It may not finish in time: others of its class go first from now on.
  void doubt(const WaitingJob& waiting);
  void move(JobId id, std::uint32_t lane);
  /// Sets WaitingJob::blocked, once.
  void note_blocked(const WaitingJob& waiting, Instant now);

  const WaitingJob* find(JobId id) const;
  /// The first at @p level on @p lane, or nullptr.
  const WaitingJob* first(std::size_t level, std::uint32_t lane) const;
  static const WaitingJob* next(const WaitingJob& waiting);
  /// O(lanes x log n).
  std::optional<Place> place(JobId id, const Pace& pace) const;
  /// Everybody's, in O(n): cheaper than place() of each.
  void for_each_place(const Pace& pace,
                      const std::function<void(const WaitingJob&, const Place&)>& tell) const;

  std::size_t size() const { return waiting_.size(); }
  std::size_t size(JobClass of) const { return jobs_[static_cast<std::size_t>(of)]; }
  Bytes bytes(JobClass of) const { return bytes_[static_cast<std::size_t>(of)]; }
  const QueueSettings& settings() const { return settings_; }
  std::size_t callers() const { return callers_.size(); }  ///< with a job that waits

  /// @p emergencies_first false: they have had their share, and come after interactive jobs.
  static const std::array<std::uint8_t, kLevels>& level_order(bool emergencies_first);

 private:
  struct Caller {
    std::uint32_t jobs = 0;
    std::array<std::uint32_t, kJobClasses> of_class{};
    std::array<Instant, kJobClasses> last_key{};
  };
  using Lane = std::array<WaitTree, kLevels>;

  void have_lane(std::uint32_t lane);
  Instant key_for(const Job& job) const;
  WaitSum ahead(std::size_t level, Instant key, std::uint64_t seq) const;
  static std::optional<Duration> eta(const WaitSum& ahead, const Pace& pace);
  std::expected<void, Refusal> in_time(const Job& job, Instant key, const ServiceTimes& times,
                                       const Pace& pace, Instant now) const;
  std::expected<void, Refusal> make_room(const Job& job, Instant key, const Pace& pace,
                                         std::vector<RefusedJob>& displaced);
  bool choose_victims(const Job& job, Instant key, std::vector<const WaitingJob*>& victims) const;
  bool is_full(JobClass of, std::uint64_t jobs, Bytes bytes) const;
  WaitSum everybody() const;
  void enter(const Ticket& ticket, std::uint32_t lane, const ServiceTimes& times, Instant now);
  void leave(WaitingJob& waiting);
  void set_level(WaitingJob& waiting, std::uint8_t level);
  void set_timer(WaitingJob& waiting, const ServiceTimes& times);
  WaitTree& tree_of(const WaitingJob& waiting) { return lanes_[waiting.lane][waiting.level]; }
  WaitingJob& own(const WaitingJob& waiting);

  QueueSettings settings_;
  std::unordered_map<std::uint64_t, std::unique_ptr<WaitingJob>> waiting_;
  std::vector<Lane> lanes_;
  std::set<std::pair<Instant, std::uint64_t>> timers_;
  std::unordered_map<std::uint64_t, Caller> callers_;
  std::array<std::uint32_t, kJobClasses> jobs_{};
  std::array<Bytes, kJobClasses> bytes_{};
  std::uint64_t next_seq_ = 1;
};

}  // namespace gpuward
