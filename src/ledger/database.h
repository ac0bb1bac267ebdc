#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <sqlite3.h>
#include <string>
#include <string_view>

#include "base/error.h"

namespace gpuward::ledger {

/// A prepared statement of SQLite. Parameters count from 1, columns from 0. Texts and blobs of
/// columns are valid until the next step.
class Statement {
 public:
  Statement() = default;
  Statement& bind(int at, std::int64_t value);
  Statement& bind(int at, std::string_view text);
  Statement& bind(int at, std::span<const std::byte> blob);
  Statement& bind_null(int at);
  /// true: there is a row; false: done, and ready for the next use.
  Result<bool> step();
  /// For statements without rows.
  Result<void> run();
  void reset();

  std::int64_t number(int column) const { return sqlite3_column_int64(handle_.get(), column); }
  bool is_null(int column) const {
    return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
  }
  std::string text(int column) const;
  std::span<const std::byte> blob(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* handle) const { sqlite3_finalize(handle); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> handle_;
};

/// One connection to a SQLite file. One thread at a time.
class Database {
 public:
  enum class Access : std::uint8_t { read, write };
  /// @p path must exist for reading. Waits up to 5 s for another writer.
  static Result<Database> open(const std::string& path, Access access);

  Result<Statement> prepare(const char* sql) const;
  /// Statements without parameters and rows, one or several.
  Result<void> execute(const char* sql) const;

 private:
  struct Close {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, Close> handle_;
};

/// Does this error mean that the file itself is damaged?
bool is_damage(const Error& error);

}  // namespace gpuward::ledger
