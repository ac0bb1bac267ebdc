#include "ledger/database.h"

#include <cerrno>

namespace gpuward::ledger {
namespace {

constexpr int kBusyMs = 5000;

class SqliteCategory : public std::error_category {
 public:
  const char* name() const noexcept override { return "sqlite"; }
  std::string message(int code) const override { return sqlite3_errstr(code); }
};

// What the system said is clearer than what SQLite makes of it: "No space left on device".
Error error_of(sqlite3* handle, std::string_view doing) {
  static const SqliteCategory category;
  const int code = sqlite3_errcode(handle) & 0xff;
  if (code == SQLITE_FULL) return error_from(ENOSPC, doing);
  const int system = sqlite3_system_errno(handle);
  if ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && system != 0)
    return error_from(system, doing);
  return Error(std::error_code(code, category), doing);
}

}  // namespace

bool is_damage(const Error& error) {
  return std::string_view(error.code.category().name()) == "sqlite" &&
         (error.code.value() == SQLITE_CORRUPT || error.code.value() == SQLITE_NOTADB);
}

Statement& Statement::bind(int at, std::int64_t value) {
  sqlite3_bind_int64(handle_.get(), at, value);
  return *this;
}

Statement& Statement::bind(int at, std::string_view text) {
  sqlite3_bind_text64(handle_.get(), at, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind(int at, std::span<const std::byte> blob) {
  sqlite3_bind_blob64(handle_.get(), at, blob.data(), blob.size(), SQLITE_TRANSIENT);
  return *this;
}

Statement& Statement::bind_null(int at) {
  sqlite3_bind_null(handle_.get(), at);
  return *this;
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(handle_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) {
    sqlite3_reset(handle_.get());
    return false;
  }
  auto error = error_of(sqlite3_db_handle(handle_.get()), "use the ledger");
  sqlite3_reset(handle_.get());
  return fail(error);
}

Result<void> Statement::run() {
  for (;;) {
    auto more = step();
    if (!more) return fail(std::move(more).error());
    if (!*more) return {};
  }
}

void Statement::reset() {
  sqlite3_reset(handle_.get());
}

std::string Statement::text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(handle_.get(), column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column));
  return text == nullptr ? std::string() : std::string(text, size);
}

std::span<const std::byte> Statement::blob(int column) const {
  const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(handle_.get(), column));
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(handle_.get(), column))};
}

Result<Database> Database::open(const std::string& path, Access access) {
  Database database;
  sqlite3* handle = nullptr;
  // Who reads after a writer was killed has to bring the write-ahead log in order first, which a
  // connection that may only read cannot.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW |
                    (access == Access::write ? SQLITE_OPEN_CREATE : 0);
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  database.handle_.reset(handle);
  if (code != SQLITE_OK) return fail(error_of(handle, "open the ledger '" + path + "'"));
  sqlite3_busy_timeout(handle, kBusyMs);
  if (access == Access::read) GPUWARD_TRY(database.execute("PRAGMA query_only = ON"));
  return database;
}

Result<Statement> Database::prepare(const char* sql) const {
  Statement statement;
  sqlite3_stmt* handle = nullptr;
  if (sqlite3_prepare_v2(handle_.get(), sql, -1, &handle, nullptr) != SQLITE_OK)
    return fail(error_of(handle_.get(), "use the ledger"));
  statement.handle_.reset(handle);
  return statement;
}

Result<void> Database::execute(const char* sql) const {
  if (sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return fail(error_of(handle_.get(), "use the ledger"));
  return {};
}

}  // namespace gpuward::ledger
