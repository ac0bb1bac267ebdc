#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
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
    /// How long the end of the writer waits for the disk.
    std::chrono::milliseconds patience{10'000};
    /// Called by the destructor where that was not enough: so many entries may not be on the disk.
    std::function<void(std::size_t entries)> on_left_behind{};
  };

  explicit Writer(Settings settings);
  /// Writes what was given before, then ends. Where the disk hangs it leaves the thread to itself
  /// after Settings::patience: no callback comes after that.
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
  class Core;  // what the thread works with, which may outlive us
  std::shared_ptr<Core> core_;
  std::thread thread_;
};

}  // namespace gpuward::ledger
