#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "ledger/chain.h"
#include "ledger/database.h"

namespace gpuward::ledger {

/// The ledger lies in the state folder: "ledger.db" (SQLite) and, apart from it, "ledger.head" with
/// where the chain stood after the last entry, so that cutting entries off its end shows.
inline constexpr const char* kFile = "ledger.db";
inline constexpr const char* kHeadFile = "ledger.head";

/// Which entries; everything that is set must hold.
struct Query {
  std::vector<std::string> services{};  ///< empty: all
  std::int64_t since_unix_ms = 0;
  std::uint64_t after = 0;              ///< a number
  std::optional<std::uint64_t> last{};  ///< only so many, the newest
};

/// What a walk over the whole chain found.
struct Verification {
  std::uint64_t entries = 0;  ///< looked at
  std::uint64_t first = 0;    ///< number of the oldest that is kept; 0: there is none
  Head head;
  std::uint64_t broken_at = 0;  ///< number of the first entry that does not fit; 0: all fit
  std::string what;             ///< what is wrong, for people; empty: nothing
  bool ok() const { return what.empty(); }
};

/// The append-only record of what gpuward meant, did and saw. Every entry is on the disk when
/// append() returns (WAL, synchronous=FULL). Several programs may have it open; one thread at a
/// time may use an object.
class Ledger {
 public:
  /// Opens it for writing in the folder @p state, makes it where there is none. A damaged file is
  /// set aside under another name, which the new one's first entry says. Errors: as open(2) and
  /// SQLite's.
  static Result<Ledger> open(const std::string& state);
  /// For reading. ENOENT when nothing was ever recorded.
  static Result<Ledger> open_for_reading(const std::string& state);

  /// Appends @p entries in one transaction and gives them their numbers. One that was imported
  /// already is passed over and keeps number 0; where entries of an origin are missing before it,
  /// that is said by an entry of its own.
  Result<void> append(std::span<LedgerEntry> entries);
  /// Removes the oldest entries, as far as none is younger than @p before_unix_ms, and says so in
  /// an entry of its own. @return how many.
  Result<std::uint64_t> prune(std::int64_t before_unix_ms);
  Result<Head> head();

  /// Calls @p visit for each entry that @p query means, oldest first, with its hash.
  Result<void> for_each(const Query& query,
                        const std::function<void(const LedgerEntry&, const Hash&)>& visit);

  /// Walks over everything. @p known is a head from elsewhere (syslog, a notebook): the chain must
  /// have passed through it; its number may be 0 where only the hash is known.
  Result<Verification> verify(const std::optional<Head>& known);

 private:
  Ledger(std::string state, Database database)
      : state_(std::move(state)), database_(std::move(database)) {}
  static Result<Ledger> open_file(const std::string& state);
  static Result<Ledger> begin_anew(const std::string& state);
  Result<Verification> walk(const std::optional<Head>& known, const std::optional<Head>& apart);
  Result<void> for_each_row(
      const Query& query,
      const std::function<void(const LedgerEntry&, const Hash&, const std::string& name)>& visit);
  Result<void> prepare_statements();
  Result<void> append_all(std::span<LedgerEntry> entries, Head& head);
  Result<void> prune_before(std::int64_t unix_ms, Head& cut, std::uint64_t& removed);
  Result<void> insert(LedgerEntry& entry, Head& head);
  Result<bool> imported(const LedgerEntry& entry, std::uint64_t& missing);
  Result<void> note_origin(const LedgerEntry& entry);
  Result<Head> base();
  Result<void> set_base(const Head& base);
  Result<void> begin_after(const Head& head, const std::string& why, const std::string& evidence);
  void write_head(const Head& head);
  Result<Head> in_transaction(const std::function<Result<void>(Head&)>& work);

  std::string state_;
  Database database_;
  Statement insert_;
  Statement last_;
  Statement origin_;
  Statement set_origin_;
};

/// What ledger.head says. nullopt where there is none or it is no head.
std::optional<Head> read_head_file(const std::string& state);

}  // namespace gpuward::ledger
