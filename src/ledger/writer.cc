#include "ledger/writer.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <mutex>
#include <utility>

#include "ledger/ledger.h"
#include "os/clock.h"
#include "os/socket.h"

namespace gpuward::ledger {
namespace {

constexpr auto kTryAgain = std::chrono::seconds(5);
constexpr std::size_t kMostAtOnce = 500;
constexpr auto kDaily = std::chrono::hours(24);
constexpr int kAuthInfo = 10 * 8 + 6;  // facility authpriv, severity info (RFC 5424, 6.2.1)

}  // namespace

class Writer::Core {
 public:
  explicit Core(Settings settings) : settings_(std::move(settings)), policy_(settings_.policy) {}

  void run();
  void add(Entries entries, Written written);
  void add_from(std::function<Entries()> read);
  void set_policy(LedgerPolicy policy);
  /// Asks the thread to end. @return whether it did within the time it has.
  bool end();
  /// No callback comes after this.
  void leave();

 private:
  struct Job {
    Entries entries;
    std::function<Entries()> read;
    Written written;
  };
  struct Batch;
  void take(std::deque<Job>& jobs, Batch& batch);
  bool write(Batch& batch);
  void look_after(Batch& batch, bool ending);
  void shorten(Batch& batch);
  void daily_duties(Batch& batch);
  // Calls @p back unless whoever would hear it is gone.
  template <class Call>
  void tell(Call&& back) {
    const std::lock_guard hold(calling_);
    if (!left_) back();
  }

  Settings settings_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable ended_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  bool over_ = false;
  std::uint64_t dropped_ = 0;
  LedgerPolicy policy_;
  std::mutex calling_;
  bool left_ = false;
  std::atomic<std::size_t> unwritten_{0};
};

// What the thread works on: what waits to be written, and who waits for that.
struct Writer::Core::Batch {
  std::optional<Ledger> ledger;
  Entries entries;
  std::vector<std::pair<std::size_t, Written>> waiting;  // after which entry of `entries`
  std::uint64_t dropped = 0;
  std::string trouble;
  Instant began = os::now();
  Instant daily{};  // when the day's duties are due
  Instant again = os::kNever;
};

Writer::Writer(Settings settings)
    : core_(std::make_shared<Core>(std::move(settings))),
      thread_([core = core_] { core->run(); }) {}

// A thread that hangs in the kernel cannot be ended: it goes with the process.
Writer::~Writer() {
  if (core_->end()) {
    thread_.join();
  } else {
    core_->leave();
    thread_.detach();
  }
}

void Writer::add(Entries entries, Written written) {
  core_->add(std::move(entries), std::move(written));
}

void Writer::add_from(std::function<Entries()> read) {
  core_->add_from(std::move(read));
}

void Writer::set_policy(LedgerPolicy policy) {
  core_->set_policy(std::move(policy));
}

void Writer::Core::set_policy(LedgerPolicy policy) {
  const std::lock_guard hold(mutex_);
  policy_ = std::move(policy);
}

bool Writer::Core::end() {
  std::unique_lock hold(mutex_);
  ending_ = true;
  wake_.notify_one();
  return ended_.wait_for(hold, settings_.patience, [this] { return over_; });
}

void Writer::Core::leave() {
  {
    const std::lock_guard hold(calling_);
    left_ = true;
  }
  if (settings_.on_left_behind) settings_.on_left_behind(unwritten_);
}

void Writer::Core::add(Entries entries, Written written) {
  const auto now = os::unix_ms_now();
  for (auto& entry : entries) entry.at_unix_ms = now;
  bool full = false;
  {
    const std::lock_guard hold(mutex_);
    full = jobs_.size() >= kMostWaiting;  // the disk hangs
    if (full) {
      dropped_ += entries.size();
    } else {
      unwritten_ += entries.size();
      jobs_.push_back({std::move(entries), {}, std::move(written)});
    }
  }
  if (full && written) written(std::nullopt);
  wake_.notify_one();
}

void Writer::Core::add_from(std::function<Entries()> read) {
  {
    const std::lock_guard hold(mutex_);
    if (jobs_.size() >= kMostWaiting) return;  // what stands in a journal is read the next time
    jobs_.push_back({{}, std::move(read), {}});
  }
  wake_.notify_one();
}

void Writer::Core::run() {
  Batch batch;
  for (bool ending = false; !ending;) {
    std::deque<Job> jobs;
    {
      std::unique_lock hold(mutex_);
      const Instant until = batch.again != os::kNever ? batch.again : batch.daily;
      wake_.wait_until(hold, until, [this] { return ending_ || !jobs_.empty(); });
      jobs.swap(jobs_);
      ending = ending_;
      batch.dropped += std::exchange(dropped_, 0);
    }
    do {
      take(jobs, batch);
      look_after(batch, ending);
    } while (!jobs.empty());
  }
  batch.ledger.reset();  // closing it may wait for the disk too
  const std::lock_guard hold(mutex_);
  over_ = true;
  ended_.notify_one();
}

// One transaction's worth: after a restart of the warden the journals of a thousand services are
// read again, and must not all lie in memory at once.
void Writer::Core::take(std::deque<Job>& jobs, Batch& batch) {
  for (std::size_t taken = 0; !jobs.empty() && taken < kMostAtOnce; jobs.pop_front()) {
    Job& job = jobs.front();
    if (job.read) {
      job.entries = job.read();
      unwritten_ += job.entries.size();
    }
    taken += job.entries.size();
    std::ranges::move(job.entries, std::back_inserter(batch.entries));
    if (job.written) batch.waiting.emplace_back(batch.entries.size(), std::move(job.written));
  }
}

// Whoever waits is not held up by a disk that fails: that is told, and what is meant is done.
void Writer::Core::look_after(Batch& batch, bool ending) {
  const Instant now = os::now();
  const bool due = now >= batch.daily;
  // While it fails it is tried for those who wait, and else only now and then.
  const bool wait = batch.again != os::kNever && now < batch.again && batch.waiting.empty();
  if (wait && !ending) return shorten(batch);
  const bool done = (batch.entries.empty() && !due && batch.trouble.empty()) || write(batch);
  for (auto& [count, written] : batch.waiting)
    tell([&, at = count, &back = written] {
      back(done && at != 0 ? std::optional(batch.entries[at - 1].number) : std::nullopt);
    });
  batch.waiting.clear();
  if (done) {
    unwritten_ -= batch.entries.size();
    batch.entries.clear();
    batch.again = os::kNever;
    if (due && batch.ledger) daily_duties(batch);
    return;
  }
  batch.again = now + kTryAgain;
  shorten(batch);
}

void Writer::Core::shorten(Batch& batch) {
  if (batch.entries.size() <= kMostWaiting) return;
  const std::size_t excess = batch.entries.size() - kMostWaiting;
  batch.dropped += excess;
  unwritten_ -= excess;
  batch.entries.erase(batch.entries.begin(),
                      batch.entries.begin() + static_cast<std::ptrdiff_t>(excess));
}

bool Writer::Core::write(Batch& batch) {
  const auto failed = [&](const Error& error) {
    // A damaged file is set aside when it is opened again; a full disk may have room again.
    batch.ledger.reset();
    const std::string why = error.message();
    if (batch.trouble != why && settings_.on_trouble) tell([&] { settings_.on_trouble(why); });
    batch.trouble = why;
    return false;
  };
  for (int attempt = 0;; ++attempt) {
    if (!batch.ledger) {
      auto ledger = Ledger::open(settings_.state);
      if (!ledger) return failed(ledger.error());
      batch.ledger = std::move(*ledger);
    }
    if (batch.dropped != 0) {
      LedgerEntry missed;
      missed.kind = EventKind::missed;
      missed.why = std::to_string(batch.dropped) + " entries could not be written in time";
      missed.evidence = batch.trouble;
      if (auto said = batch.ledger->append(std::span(&missed, 1)); !said)
        return failed(said.error());
      batch.dropped = 0;
    }
    auto written = batch.ledger->append(batch.entries);
    if (written) break;
    const bool damaged = is_damage(written.error());
    failed(written.error());
    if (!damaged || attempt != 0) return false;
  }
  if (!std::exchange(batch.trouble, "").empty() && settings_.on_trouble)
    tell([&] { settings_.on_trouble(""); });
  return true;
}

// Old entries go, and the head to syslog. A machine without one has no such socket: nothing is lost
// but this witness.
void Writer::Core::daily_duties(Batch& batch) {
  batch.daily = os::now() + kDaily;
  LedgerPolicy policy;
  {
    const std::lock_guard hold(mutex_);
    policy = policy_;
  }
  const auto keep = std::chrono::duration_cast<std::chrono::milliseconds>(
      (os::wall_now() - policy.keep).time_since_epoch());
  // Not before a day of this machine's own steady time: until then its calendar may be wrong.
  if (os::now() - batch.began >= kDaily) (void)batch.ledger->prune(keep.count());
  const auto head = batch.ledger->head();
  if (!head || policy.syslog.empty()) return;
  (void)os::notify(policy.syslog, "<" + std::to_string(kAuthInfo) + ">gpuwardd[" +
                                      std::to_string(::getpid()) + "]: ledger " + settings_.state +
                                      ": entry " + std::to_string(head->number) + ", head " +
                                      to_hex(head->hash));
}

}  // namespace gpuward::ledger
