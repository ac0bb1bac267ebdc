#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "domain/event.h"
#include "ledger/chain.h"

namespace gpuward::ledger {

/// Writes the ledger on a thread of its own, so that no disk holds the caller up. What is given
/// while it writes goes into the next transaction together. Where nothing can be written it keeps
/// up to kMostWaiting entries, tries again, and in the end says how many it had to drop. All
/// members may be called from any thread; the callbacks come on the writer's, or at once where too
/// much waits already.
class Writer {
 public:
  static constexpr std::size_t kMostWaiting = 10'000;
  using Entries = std::vector<LedgerEntry>;
  /// @p number of the last of the entries; nullopt: they could not be written, or only later.
  using Written = std::function<void(std::optional<std::uint64_t> number)>;

  struct Settings {
    std::string state;  ///< the folder that holds the ledger
    LedgerPolicy policy;
    /// Called when writing begins to fail, with why, and with "" when it works again.
    std::function<void(std::string)> on_trouble;
  };

  explicit Writer(Settings settings);
  /// Writes what was given before, then ends.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Takes @p entries down with the time that it is now. Their numbers follow each other.
  void add(Entries entries, Written written = {});
  /// Holds from the next daily look on.
  void set_policy(LedgerPolicy policy);
  /// @p read is called on the writer's thread and gives what is to be written: journals, which
  /// nobody else should wait for.
  void add_from(std::function<Entries()> read);

 private:
  struct Job {
    Entries entries;
    std::function<Entries()> read;
    Written written;
  };
  struct Batch;
  void run();
  void take(std::deque<Job>& jobs, Batch& batch);
  bool write(Batch& batch);
  void look_after(Batch& batch, bool ending);
  static void shorten(Batch& batch);
  void daily_duties(Batch& batch);

  Settings settings_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool ending_ = false;
  std::uint64_t dropped_ = 0;
  LedgerPolicy policy_;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace gpuward::ledger
