#include "ledger/ledger.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "os/clock.h"
#include "os/fd.h"

namespace gpuward::ledger {
namespace {

// `base` holds what the oldest entry follows: nothing, the last one that was removed for its age,
// or the last one of a file that was set aside.
constexpr const char* kSchema = R"(
  BEGIN IMMEDIATE;
  CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, at_unix_ms INTEGER NOT NULL, kind INTEGER NOT NULL,
    name TEXT NOT NULL, service TEXT NOT NULL, replica INTEGER NOT NULL,
    generation INTEGER NOT NULL, uid INTEGER, login_uid INTEGER, pid INTEGER, command TEXT,
    why TEXT NOT NULL, evidence TEXT NOT NULL, outcome TEXT NOT NULL, of INTEGER NOT NULL,
    origin TEXT NOT NULL, origin_number INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
  CREATE INDEX IF NOT EXISTS entries_by_time ON entries(at_unix_ms);
  CREATE TABLE IF NOT EXISTS base (
    one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS origins (
    origin TEXT PRIMARY KEY, number INTEGER NOT NULL, seen_unix_ms INTEGER NOT NULL) STRICT;
  COMMIT;
)";
constexpr const char* kColumns =
    "number, at_unix_ms, kind, service, replica, generation, uid, login_uid, pid, command, why, "
    "evidence, outcome, of, origin, origin_number, hash, name";

Hash hash_of(std::span<const std::byte> blob) {
  Hash hash{};
  if (blob.size() == hash.size()) std::ranges::copy(blob, hash.begin());
  return hash;
}

LedgerEntry read_entry(const Statement& row) {
  LedgerEntry entry;
  entry.number = static_cast<std::uint64_t>(row.number(0));
  entry.at_unix_ms = row.number(1);
  entry.kind = static_cast<EventKind>(row.number(2));
  entry.service = row.text(3);
  entry.replica = static_cast<std::uint32_t>(row.number(4));
  entry.generation = static_cast<std::uint32_t>(row.number(5));
  if (!row.is_null(6)) {
    Actor actor;
    actor.uid = static_cast<std::uint32_t>(row.number(6));
    actor.has_login = !row.is_null(7);
    actor.login_uid = static_cast<std::uint32_t>(row.number(7));
    actor.pid = Pid{static_cast<pid_t>(row.number(8))};
    actor.command = Text<80>(row.text(9));
    entry.actor = actor;
  }
  entry.why = row.text(10);
  entry.evidence = row.text(11);
  entry.outcome = row.text(12);
  entry.of = static_cast<std::uint64_t>(row.number(13));
  entry.origin = row.text(14);
  entry.origin_number = static_cast<std::uint64_t>(row.number(15));
  return entry;
}

// In the entry that says why older ones are gone.
std::string goes_on_after(const Head& head) {
  return "goes on after entry " + std::to_string(head.number) + " " + to_hex(head.hash);
}

// Of a damaged file everything is kept, with a name that sorts by time.
Result<std::string> set_aside(const std::string& path) {
  std::array<char, 32> stamp{};
  const std::time_t now = std::chrono::system_clock::to_time_t(os::wall_now());
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::strftime(stamp.data(), stamp.size(), ".damaged-%Y%m%d-%H%M%S", &utc);
  std::string aside = path + stamp.data();
  for (int n = 2; ::access(aside.c_str(), F_OK) == 0; ++n)
    aside = path + stamp.data() + "-" + std::to_string(n);
  if (::rename(path.c_str(), aside.c_str()) < 0)
    return fail(last_error("set the damaged ledger aside", path));
  for (const char* part : {"-wal", "-shm"})
    (void)::rename((path + part).c_str(), (aside + part).c_str());
  return aside;
}

}  // namespace

std::optional<Head> read_head_file(const std::string& state) {
  const auto text = os::read_regular_at(os::Fd(), (state + "/" + kHeadFile).c_str(), 4096);
  if (!text) return std::nullopt;
  Head head;
  const char* end = text->data() + text->size();
  const auto [at, error] = std::from_chars(text->data(), end, head.number);
  if (error != std::errc() || at == end || *at != ' ') return std::nullopt;
  std::string_view digits(at + 1, static_cast<std::size_t>(end - at - 1));
  if (digits.ends_with('\n')) digits.remove_suffix(1);
  const auto hash = parse_hash(digits);
  if (!hash) return std::nullopt;
  head.hash = *hash;
  return head;
}

Result<Ledger> Ledger::open_file(const std::string& state) {
  const std::string path = state + "/" + kFile;
  // SQLite would make it readable for others.
  if (auto made =
          os::Fd::open_regular_at(os::Fd(), path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
      !made)
    return fail(std::move(made).error());
  auto database = Database::open(path, Database::Access::write);
  if (!database) return fail(std::move(database).error());
  GPUWARD_TRY(database->execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-256;"));
  Ledger ledger(state, std::move(*database));
  GPUWARD_TRY(ledger.database_.execute(kSchema));
  auto check = ledger.database_.prepare("PRAGMA quick_check(1)");
  if (!check) return fail(std::move(check).error());
  auto row = check->step();
  if (!row) return fail(std::move(row).error());
  if (*row && check->text(0) != "ok") {
    // As SQLite itself would say it when it came upon the place.
    Error damage(Errc::bad_message, "use the ledger: " + check->text(0));
    return fail(damage);
  }
  check->reset();
  GPUWARD_TRY(ledger.prepare_statements());
  // Before there is any entry: from then on one that is missing was taken away.
  auto head = ledger.head();
  if (!head) return fail(std::move(head).error());
  if (*head == Head{}) ledger.write_head(*head);
  return ledger;
}

Result<Ledger> Ledger::open(const std::string& state) {
  auto ledger = open_file(state);
  const bool damaged = !ledger && (is_damage(ledger.error()) ||
                                   ledger.error().code == make_error_code(Errc::bad_message));
  if (!ledger && !damaged) return ledger;
  if (ledger) {
    auto head = ledger->head();
    if (!head) return fail(std::move(head).error());
    const auto apart = read_head_file(state);
    if (head->number != 0 || !apart || apart->number == 0) return ledger;
  }
  return begin_anew(state);
}

// Where it is damaged, or gone while its head is still there. One program at a time: what a second
// one finds is whole again.
Result<Ledger> Ledger::begin_anew(const std::string& state) {
  auto turn = os::Fd::open(state + "/ledger.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!turn) return fail(std::move(turn).error());
  GPUWARD_TRY(os::lock(*turn, std::chrono::seconds(5)));
  auto ledger = open_file(state);
  std::string why = "its file is gone";
  std::string evidence;
  if (!ledger) {
    why = "the ledger was damaged: " + ledger.error().message();
    auto aside = set_aside(state + "/" + kFile);
    if (!aside) return fail(std::move(aside).error());
    evidence = "kept as " + *aside;
    ledger = open_file(state);
    if (!ledger) return ledger;
  }
  auto head = ledger->head();
  if (!head) return fail(std::move(head).error());
  if (head->number == 0)
    GPUWARD_TRY(ledger->begin_after(read_head_file(state).value_or(Head{}), why, evidence));
  return ledger;
}

Result<Ledger> Ledger::open_for_reading(const std::string& state) {
  const std::string path = state + "/" + kFile;
  if (auto there = os::Fd::open(path, O_RDONLY); !there) return fail(std::move(there).error());
  auto database = Database::open(path, Database::Access::read);
  if (!database) return fail(std::move(database).error());
  // One that is just being made has no tables yet.
  auto table = database->prepare("SELECT 1 FROM sqlite_master WHERE name = 'origins'");
  if (!table) return fail(std::move(table).error());
  auto row = table->step();
  if (!row) return fail(std::move(row).error());
  if (!*row) return fail(error_from(ENOENT, "open the ledger", path));
  table->reset();
  return Ledger(state, std::move(*database));
}

Result<void> Ledger::prepare_statements() {
  const auto prepare = [this](const char* sql, Statement& into) -> Result<void> {
    auto statement = database_.prepare(sql);
    if (!statement) return fail(std::move(statement).error());
    into = std::move(*statement);
    return {};
  };
  GPUWARD_TRY(prepare("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", insert_));
  GPUWARD_TRY(prepare("SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1", last_));
  GPUWARD_TRY(prepare("SELECT number FROM origins WHERE origin = ?", origin_));
  return prepare(
      "INSERT INTO origins VALUES (?,?,?) ON CONFLICT(origin) DO UPDATE SET "
      "number = excluded.number, seen_unix_ms = excluded.seen_unix_ms",
      set_origin_);
}

// @p work moves the head that it is given; what comes back is where the chain then stands.
Result<Head> Ledger::in_transaction(const std::function<Result<void>(Head&)>& work) {
  GPUWARD_TRY(database_.execute("BEGIN IMMEDIATE"));
  auto now = head();
  auto done = now ? work(*now) : Result<void>(fail(now.error()));
  if (done) done = database_.execute("COMMIT");
  if (done) return now;
  (void)database_.execute("ROLLBACK");
  return fail(std::move(done).error());
}

Result<Head> Ledger::base() {
  auto select = database_.prepare("SELECT number, hash FROM base");
  if (!select) return fail(std::move(select).error());
  auto row = select->step();
  if (!row) return fail(std::move(row).error());
  if (!*row) return Head{};
  return Head{static_cast<std::uint64_t>(select->number(0)), hash_of(select->blob(1))};
}

Result<void> Ledger::set_base(const Head& base) {
  auto set = database_.prepare("INSERT OR REPLACE INTO base VALUES (1, ?, ?)");
  if (!set) return fail(std::move(set).error());
  set->bind(1, static_cast<std::int64_t>(base.number)).bind(2, std::span(base.hash));
  return set->run();
}

Result<Head> Ledger::head() {
  auto select = database_.prepare("SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1");
  if (!select) return fail(std::move(select).error());
  auto row = select->step();
  if (!row) return fail(std::move(row).error());
  if (!*row) return base();
  return Head{static_cast<std::uint64_t>(select->number(0)), hash_of(select->blob(1))};
}

Result<void> Ledger::insert(LedgerEntry& entry, Head& head) {
  entry.number = head.number + 1;
  if (entry.at_unix_ms == 0) entry.at_unix_ms = os::unix_ms_now();
  const Hash hash = chain(head.hash, entry);
  insert_.bind(1, static_cast<std::int64_t>(entry.number)).bind(2, entry.at_unix_ms);
  insert_.bind(3, static_cast<std::int64_t>(entry.kind)).bind(4, to_string(entry.kind));
  insert_.bind(5, entry.service).bind(6, std::int64_t{entry.replica});
  insert_.bind(7, std::int64_t{entry.generation});
  for (int at = 8; at <= 11; ++at) insert_.bind_null(at);
  if (entry.actor) {
    insert_.bind(8, std::int64_t{entry.actor->uid});
    if (entry.actor->has_login) insert_.bind(9, std::int64_t{entry.actor->login_uid});
    insert_.bind(10, std::int64_t{entry.actor->pid.number});
    insert_.bind(11, entry.actor->command.view());
  }
  insert_.bind(12, entry.why).bind(13, entry.evidence).bind(14, entry.outcome);
  insert_.bind(15, static_cast<std::int64_t>(entry.of)).bind(16, entry.origin);
  insert_.bind(17, static_cast<std::int64_t>(entry.origin_number)).bind(18, std::span(hash));
  GPUWARD_TRY(insert_.run());
  head = {entry.number, hash};
  return {};
}

Result<bool> Ledger::imported(const LedgerEntry& entry, std::uint64_t& missing) {
  missing = 0;
  if (entry.origin.empty()) return false;
  origin_.bind(1, entry.origin);
  auto row = origin_.step();
  if (!row) return fail(std::move(row).error());
  const auto seen = *row ? static_cast<std::uint64_t>(origin_.number(0)) : 0;
  origin_.reset();
  if (entry.origin_number <= seen) return true;
  missing = entry.origin_number - seen - 1;
  return false;
}

Result<void> Ledger::note_origin(const LedgerEntry& entry) {
  if (entry.origin.empty()) return {};
  set_origin_.bind(1, entry.origin).bind(2, static_cast<std::int64_t>(entry.origin_number));
  set_origin_.bind(3, os::unix_ms_now());
  return set_origin_.run();
}

Result<void> Ledger::append_all(std::span<LedgerEntry> entries, Head& head) {
  for (auto& entry : entries) {
    entry.number = 0;
    std::uint64_t missing = 0;
    auto known = imported(entry, missing);
    if (!known) return fail(std::move(known).error());
    if (*known) continue;
    if (missing != 0) {
      LedgerEntry gap;
      gap.kind = EventKind::missed;
      gap.service = entry.service;
      gap.replica = entry.replica;
      gap.why = std::to_string(missing) + (missing == 1 ? " entry" : " entries") +
                " had left its anchor's journal unread";
      GPUWARD_TRY(insert(gap, head));
    }
    GPUWARD_TRY(insert(entry, head));
    GPUWARD_TRY(note_origin(entry));
  }
  return {};
}

Result<void> Ledger::append(std::span<LedgerEntry> entries) {
  auto now = in_transaction([&](Head& head) { return append_all(entries, head); });
  if (!now) return fail(std::move(now).error());
  write_head(*now);
  return {};
}

// After the entries, and without waiting for the disk: it may lag behind them, never run ahead. One
// writer at a time, and none takes it back.
void Ledger::write_head(const Head& head) {
  const auto folder = os::Fd::open(state_, O_RDONLY | O_DIRECTORY);
  if (!folder || !os::lock(*folder)) return;
  const auto there = read_head_file(state_);
  if (there && there->number >= head.number) return;
  const std::string text = std::to_string(head.number) + " " + to_hex(head.hash) + "\n";
  (void)os::replace_file_at(os::Fd(), (state_ + "/" + kHeadFile).c_str(),
                            std::as_bytes(std::span(text)), 0600);
}

Result<void> Ledger::begin_after(const Head& head, const std::string& why,
                                 const std::string& evidence) {
  LedgerEntry entry;
  entry.kind = EventKind::set_aside;
  entry.why = why;
  entry.evidence = evidence;
  entry.outcome = goes_on_after(head);
  auto now = in_transaction([&](Head& at) -> Result<void> {
    GPUWARD_TRY(set_base(head));
    at = head;
    return insert(entry, at);
  });
  if (!now) return fail(std::move(now).error());
  write_head(*now);
  return {};
}

// The oldest entries up to the first young one. @p cut: the last of them; its number is 0 for none.
Result<void> Ledger::prune_before(std::int64_t unix_ms, Head& cut, std::uint64_t& removed) {
  auto last = database_.prepare(
      "SELECT number, hash FROM entries WHERE number < (SELECT COALESCE(MIN(number), 0) FROM "
      "entries WHERE at_unix_ms >= ?) ORDER BY number DESC LIMIT 1");
  if (!last) return fail(std::move(last).error());
  auto row = last->bind(1, unix_ms).step();
  if (!row) return fail(std::move(row).error());
  if (!*row) return {};
  cut = {static_cast<std::uint64_t>(last->number(0)), hash_of(last->blob(1))};
  last->reset();
  auto before = base();
  if (!before) return fail(std::move(before).error());
  removed = cut.number - before->number;
  GPUWARD_TRY(set_base(cut));
  auto erase = database_.prepare("DELETE FROM entries WHERE number <= ?");
  if (!erase) return fail(std::move(erase).error());
  GPUWARD_TRY(erase->bind(1, static_cast<std::int64_t>(cut.number)).run());
  // Of this boot an anchor may live still, and its journal be read again.
  const auto boot = os::boot_id();
  auto forget = database_.prepare(
      "DELETE FROM origins WHERE seen_unix_ms < ? AND substr(origin, 1, length(?2)) <> ?2");
  if (!forget) return fail(std::move(forget).error());
  return forget->bind(1, unix_ms).bind(2, boot ? boot->view() : std::string_view("-")).run();
}

Result<std::uint64_t> Ledger::prune(std::int64_t before_unix_ms) {
  std::uint64_t removed = 0;
  auto now = in_transaction([&](Head& head) -> Result<void> {
    Head cut;
    GPUWARD_TRY(prune_before(before_unix_ms, cut, removed));
    if (removed == 0) return {};
    LedgerEntry entry;
    entry.kind = EventKind::pruned;
    entry.why = "older than the ledger keeps";
    entry.evidence = std::to_string(removed) + " entries";
    entry.outcome = goes_on_after(cut);
    return insert(entry, head);
  });
  if (!now) return fail(std::move(now).error());
  write_head(*now);
  return removed;
}

Result<void> Ledger::for_each(const Query& query,
                              const std::function<void(const LedgerEntry&, const Hash&)>& visit) {
  return for_each_row(query, [&](const LedgerEntry& entry, const Hash& hash, const std::string&) {
    visit(entry, hash);
  });
}

Result<void> Ledger::for_each_row(
    const Query& query,
    const std::function<void(const LedgerEntry&, const Hash&, const std::string& name)>& visit) {
  std::string where = " WHERE number > ? AND at_unix_ms >= ?";
  if (!query.services.empty()) {
    where += " AND service IN (?";
    for (std::size_t n = 1; n < query.services.size(); ++n) where += ",?";
    where += ")";
  }
  const std::string columns = kColumns;
  std::string sql = "SELECT " + columns + " FROM entries" + where;
  if (query.last)  // the newest ones, then in their order again
    sql = "SELECT * FROM (" + sql + " ORDER BY number DESC LIMIT " + std::to_string(*query.last) +
          ")";
  auto select = database_.prepare((sql + " ORDER BY number").c_str());
  if (!select) return fail(std::move(select).error());
  select->bind(1, static_cast<std::int64_t>(query.after)).bind(2, query.since_unix_ms);
  for (std::size_t n = 0; n < query.services.size(); ++n)
    select->bind(static_cast<int>(3 + n), query.services[n]);
  for (;;) {
    auto row = select->step();
    if (!row) return fail(std::move(row).error());
    if (!*row) return {};
    visit(read_entry(*select), hash_of(select->blob(16)), select->text(17));
  }
}

// One view of it: somebody may append or remove meanwhile.
Result<Verification> Ledger::verify(const std::optional<Head>& known) {
  const auto apart = read_head_file(state_);  // first: it lags behind the entries
  GPUWARD_TRY(database_.execute("BEGIN"));
  auto found = walk(known, apart);
  (void)database_.execute("COMMIT");
  return found;
}

Result<Verification> Ledger::walk(const std::optional<Head>& known,
                                  const std::optional<Head>& apart) {
  Verification found;
  auto start = base();
  if (!start) return fail(std::move(start).error());
  Head at = *start;
  bool base_vouched = start->number == 0;
  const auto is_known = [&](const Head& head) {
    return known && known->hash == head.hash &&
           (known->number == 0 || known->number == head.number);
  };
  bool passed_known = is_known(at);
  bool passed_apart = !apart || *apart == at;
  const std::string vouches = goes_on_after(at);
  const auto blame = [&](std::uint64_t number, std::string what) {
    if (!found.ok()) return;
    found.broken_at = number;
    found.what = std::move(what);
  };
  GPUWARD_TRY(for_each_row({}, [&](const LedgerEntry& entry, const Hash& hash,
                                   const std::string& name) {
    if (found.entries++ == 0) found.first = entry.number;
    if (entry.number != at.number + 1)
      blame(at.number + 1, "entry " + std::to_string(at.number + 1) + " is missing");
    if (chain(at.hash, entry) != hash)
      blame(entry.number, "entry " + std::to_string(entry.number) + " is not as it was written");
    const auto kind = to_string(entry.kind);
    if (name != kind && kind != "unknown")
      blame(entry.number, "entry " + std::to_string(entry.number) + " is not as it was written");
    at = {entry.number, hash};
    const bool own = entry.kind == EventKind::pruned || entry.kind == EventKind::set_aside;
    base_vouched |= own && entry.outcome == vouches;
    passed_known |= is_known(at);
    passed_apart |= apart && *apart == at;
  }));
  found.head = at;
  if (!base_vouched)
    blame(start->number + 1,
          "entries up to " + std::to_string(start->number) + " are gone and no entry says why");
  if (!passed_apart)
    blame(apart->number, apart->number > at.number
                             ? "the ledger ends at entry " + std::to_string(at.number) + ", and " +
                                   kHeadFile + " knows of " + std::to_string(apart->number)
                             : "entry " + std::to_string(apart->number) + " is another one than " +
                                   kHeadFile + " knows");
  if (!apart && found.entries != 0)
    blame(at.number, "ledger.head is missing or damaged: entries cut off the end would not show");
  if (known && !passed_known)
    blame(known->number,
          "the chain never passed through the head that was given, or what it "
          "covers has been removed for its age");
  return found;
}

}  // namespace gpuward::ledger
