#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "control/journal.h"
#include "domain/event.h"
#include "ledger/writer.h"

namespace gpuward::warden {

namespace asio = boost::asio;

/// Keeps the ledger for the warden: takes down what is ordered, before it is done, and what the
/// anchors have written into their journals. Never waits for the disk. Loop thread only.
class Clerk {
 public:
  explicit Clerk(asio::io_context& loop) : loop_(loop) {}
  Clerk(const Clerk&) = delete;
  Clerk& operator=(const Clerk&) = delete;

  /// Opens the ledger in the folder @p state. What is noted before that, or after close(), is not.
  void open(std::string state, const LedgerPolicy& policy);
  void set_policy(const LedgerPolicy& policy);
  /// Writes what is left; where the disk hangs it says after ten seconds what may be lost.
  void close() { writer_.reset(); }

  using Entries = ledger::Writer::Entries;
  /// Called for each entry: when it is noted here, and when one that an anchor wrote, not before
  /// open(), was taken over.
  void on_entry(std::function<void(const LedgerEntry&)> handler) { on_entry_ = std::move(handler); }
  void note(Entries entries);
  void note(EventKind kind, const std::string& service, std::string why);
  /// Calls @p go on the loop once @p entries are on the disk, with the number of the last; where
  /// they cannot be written, with 0: a full disk must not keep anybody from stopping a service.
  void note_before(Entries entries, std::function<void(std::uint64_t last)> go);
  /// Takes over what is new in the journal of @p folder, soon.
  void import(const control::AnchorFolder& folder);
  /// The same, read before it returns: the folder is about to be removed.
  void import_now(const control::AnchorFolder& folder);
  /// Why nothing can be written at present; empty: it can.
  const std::string& trouble() const { return trouble_; }

 private:
  void tell(const Entries& entries) const;

  asio::io_context& loop_;
  std::function<void(const LedgerEntry&)> on_entry_;
  std::int64_t opened_unix_ms_ = 0;
  std::string trouble_;
  // Of the writer's thread alone.
  std::shared_ptr<control::JournalReader> journals_ = std::make_shared<control::JournalReader>();
  std::unique_ptr<ledger::Writer> writer_;
};

}  // namespace gpuward::warden
