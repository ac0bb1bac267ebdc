#include "ledger/ledger.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <gtest/gtest.h>

#include "os/fd.h"
#include "support/temp_folder.h"

namespace gpuward::ledger {
namespace {

LedgerEntry entry_of(EventKind kind, std::string service, std::string why = "") {
  LedgerEntry entry;
  entry.kind = kind;
  entry.service = std::move(service);
  entry.why = std::move(why);
  entry.at_unix_ms = 1'700'000'000'000;
  return entry;
}

class LedgerTest : public testing::Test {
 protected:
  const std::string& state() const { return folder_.path(); }
  std::string file() const { return state() + "/" + kFile; }

  Ledger open() const {
    auto ledger = Ledger::open(state());
    EXPECT_TRUE(ledger) << ledger.error().message();
    return std::move(*ledger);
  }
  // What someone with the file and a SQLite shell could do.
  void meddle(const char* sql) const {
    auto database = Database::open(file(), Database::Access::write);
    ASSERT_TRUE(database);
    auto done = database->execute(sql);
    ASSERT_TRUE(done) << done.error().message();
  }
  Verification verify(std::optional<Head> known = {}) const {
    auto found = open().verify(known);
    EXPECT_TRUE(found) << found.error().message();
    return found.value_or(Verification{});
  }
  void append(std::vector<LedgerEntry> entries) const {
    auto done = open().append(entries);
    ASSERT_TRUE(done) << done.error().message();
  }
  std::vector<LedgerEntry> all(const Query& query = {}) const {
    std::vector<LedgerEntry> entries;
    auto ledger = open();
    auto done =
        ledger.for_each(query, [&](const LedgerEntry& e, const Hash&) { entries.push_back(e); });
    EXPECT_TRUE(done);
    return entries;
  }
  // Five entries of two services.
  void fill() const {
    append({entry_of(EventKind::begun, "a"), entry_of(EventKind::starting, "a"),
            entry_of(EventKind::ready, "b"), entry_of(EventKind::ending, "a", "stop was asked"),
            entry_of(EventKind::ended, "a")});
  }

  tests::TempFolder folder_;
};

TEST_F(LedgerTest, GivesBackWhatItWasGiven) {
  LedgerEntry entry = entry_of(EventKind::stop_ordered, "xray", "by hand");
  entry.actor = Actor{1000, true, 1001, Pid{77}, Text<80>("gpuward < bash")};
  entry.replica = 1;
  entry.generation = 3;
  entry.evidence = "4 processes";
  entry.outcome = "none left";
  append({entry});
  const auto entries = all();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].number, 1U);
  EXPECT_EQ(entries[0].kind, EventKind::stop_ordered);
  EXPECT_EQ(entries[0].service, "xray");
  EXPECT_EQ(entries[0].replica, 1U);
  EXPECT_EQ(entries[0].generation, 3U);
  ASSERT_TRUE(entries[0].actor);
  EXPECT_EQ(describe(entries[0].actor), "uid 1000 (logged in as 1001), pid 77: gpuward < bash");
  EXPECT_EQ(entries[0].why + entries[0].evidence + entries[0].outcome,
            "by hand4 processesnone left");
}

TEST_F(LedgerTest, IsForItsOwnerAlone) {
  append({entry_of(EventKind::begun, "a")});
  for (const auto* name : {kFile, kHeadFile}) {
    struct stat info{};
    ASSERT_EQ(::stat((state() + "/" + name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077U, 0U) << name;
  }
}

TEST_F(LedgerTest, AsksForServiceTimeNumberAndTheLast) {
  fill();
  EXPECT_EQ(all({.services = {"b"}}).size(), 1U);
  EXPECT_EQ(all({.after = 3}).front().number, 4U);
  EXPECT_EQ(all({.since_unix_ms = 1'700'000'000'001}).size(), 0U);
  const auto last = all({.services = {"a"}, .last = 2});
  ASSERT_EQ(last.size(), 2U);
  EXPECT_EQ(last[0].number, 4U);
  EXPECT_EQ(last[1].number, 5U);
}

TEST_F(LedgerTest, AnUntouchedChainHolds) {
  fill();
  append({entry_of(EventKind::begun, "c")});
  const auto found = verify();
  EXPECT_TRUE(found.ok()) << found.what;
  EXPECT_EQ(found.entries, 6U);
  EXPECT_EQ(found.head.number, 6U);
  EXPECT_EQ(read_head_file(state()), found.head);
}

// Each of these is one way to lie; none must pass.
TEST_F(LedgerTest, EveryChangedFieldShows) {
  for (const char* field :
       {"at_unix_ms = 5", "kind = 5", "service = 'b'", "replica = 7", "generation = 7", "uid = 0",
        "why = 'x'", "evidence = 'x'", "outcome = 'x'", "of = 2", "origin = 'x'",
        "origin_number = 9", "name = 'ready'"}) {
    std::filesystem::remove(file());
    std::filesystem::remove(state() + "/" + kHeadFile);
    fill();
    meddle(("UPDATE entries SET " + std::string(field) + " WHERE number = 2").c_str());
    const auto found = verify();
    EXPECT_FALSE(found.ok()) << field;
    EXPECT_EQ(found.broken_at, 2U) << field;
  }
}

TEST_F(LedgerTest, AnEntryTakenOutOfTheMiddleShows) {
  fill();
  meddle("DELETE FROM entries WHERE number = 3");
  EXPECT_EQ(verify().what, "entry 3 is missing");
}

TEST_F(LedgerTest, EntriesCutOffTheEndShow) {
  fill();
  meddle("DELETE FROM entries WHERE number > 3");
  EXPECT_EQ(verify().what, "the ledger ends at entry 3, and ledger.head knows of 5");
}

TEST_F(LedgerTest, EntriesCutOffTheBeginningShow) {
  fill();
  auto second = open();
  Hash hash{};
  ASSERT_TRUE(second.for_each({}, [&](const LedgerEntry& e, const Hash& h) {
    if (e.number == 2) hash = h;
  }));
  meddle(("DELETE FROM entries WHERE number <= 2; INSERT OR REPLACE INTO base VALUES (1, 2, x'" +
          to_hex(hash) + "')")
             .c_str());
  EXPECT_EQ(verify().what, "entries up to 2 are gone and no entry says why");
}

TEST_F(LedgerTest, AMissingHeadFileIsSaid) {
  fill();
  std::filesystem::remove(state() + "/" + kHeadFile);
  EXPECT_NE(verify().what.find("ledger.head is missing"), std::string::npos);
}

// Root can write a whole new chain that holds in itself; a head that was noted before tells.
TEST_F(LedgerTest, ARewrittenChainDoesNotPassThroughAnOldHead) {
  fill();
  const Head noted = verify().head;
  append({entry_of(EventKind::begun, "c")});
  EXPECT_TRUE(verify(noted).ok());
  EXPECT_TRUE(verify(Head{0, noted.hash}).ok()) << "the hash alone is enough";
  std::filesystem::remove(file());
  std::filesystem::remove(state() + "/" + kHeadFile);
  append({entry_of(EventKind::begun, "a"), entry_of(EventKind::starting, "a"),
          entry_of(EventKind::ready, "b"), entry_of(EventKind::ended, "a", "another story"),
          entry_of(EventKind::ended, "a"), entry_of(EventKind::begun, "c")});
  EXPECT_TRUE(verify().ok());
  EXPECT_FALSE(verify(noted).ok());
}

TEST_F(LedgerTest, OldEntriesGoAndThatIsSaid) {
  fill();
  const Head cut = verify().head;
  auto young = entry_of(EventKind::begun, "c");
  young.at_unix_ms = 1'800'000'000'000;
  append({young});
  auto pruned = open().prune(1'750'000'000'000);
  ASSERT_TRUE(pruned) << pruned.error().message();
  EXPECT_EQ(*pruned, 5U);
  const auto entries = all();
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[1].kind, EventKind::pruned);
  EXPECT_EQ(entries[1].evidence, "5 entries");
  const auto found = verify();
  EXPECT_TRUE(found.ok()) << found.what;
  EXPECT_EQ(found.first, 6U);
  ASSERT_EQ(open().prune(1'750'000'000'000), 0U) << "nothing more to remove";
  EXPECT_TRUE(verify(Head{0, cut.hash}).ok()) << "a head may be that of the last one removed";
}

TEST_F(LedgerTest, WhatWasImportedIsNotImportedAgain) {
  auto one = entry_of(EventKind::starting, "a");
  one.origin = "boot 5 100";
  one.origin_number = 1;
  auto two = one;
  two.origin_number = 2;
  append({one});
  append({one, two});
  EXPECT_EQ(all().size(), 2U);
  two.origin = "boot 6 200";  // another anchor's second entry: its first was never seen
  append({two});
  const auto entries = all();
  ASSERT_EQ(entries.size(), 4U);
  EXPECT_EQ(entries[2].kind, EventKind::missed);
  EXPECT_EQ(entries[2].why, "1 entry had left its anchor's journal unread");
}

TEST_F(LedgerTest, ADamagedFileIsKeptAsideAndTheChainGoesOn) {
  fill();
  const Head before = verify().head;
  {
    auto broken = os::Fd::open(file(), O_WRONLY | O_TRUNC);
    ASSERT_TRUE(broken);
    ASSERT_TRUE(os::write_all(*broken, std::string(8192, 'x'), "the file"));
  }
  const auto entries = all();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].kind, EventKind::set_aside);
  EXPECT_EQ(entries[0].number, before.number + 1);
  const std::string aside = entries[0].evidence.substr(std::string("kept as ").size());
  EXPECT_EQ(std::filesystem::file_size(aside), 8192U);
  const auto found = verify(before);
  EXPECT_TRUE(found.ok()) << found.what;
}

TEST_F(LedgerTest, AFileThatIsGoneIsSaidAndTheChainGoesOn) {
  fill();
  for (const char* part : {"", "-wal", "-shm"}) std::filesystem::remove(file() + part);
  const auto entries = all();
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].kind, EventKind::set_aside);
  EXPECT_EQ(entries[0].number, 6U);
  EXPECT_EQ(entries[0].why, "its file is gone");
  EXPECT_TRUE(verify().ok()) << verify().what;
}

TEST_F(LedgerTest, DamageInsideTheFileIsFoundWhenItIsOpened) {
  std::vector<LedgerEntry> many(200, entry_of(EventKind::begun, "a", std::string(100, 'w')));
  append(many);
  meddle("PRAGMA wal_checkpoint(TRUNCATE)");
  {
    auto page = os::Fd::open(file(), O_WRONLY);
    ASSERT_TRUE(page);
    const std::string noise(4096, '\xa5');
    ASSERT_EQ(::pwrite(page->get(), noise.data(), noise.size(), off_t{3} * 4096), 4096);
  }
  ASSERT_EQ(all().back().kind, EventKind::set_aside);
}

TEST_F(LedgerTest, TwoWritersShareOneChain) {
  auto one = open();
  auto other = open();
  for (int n = 0; n < 5; ++n) {
    auto entry = entry_of(EventKind::begun, "a");
    ASSERT_TRUE(one.append(std::span(&entry, 1)));
    EXPECT_EQ(entry.number, static_cast<std::uint64_t>(2 * n + 1));
    ASSERT_TRUE(other.append(std::span(&entry, 1)));
  }
  EXPECT_TRUE(verify().ok());
  EXPECT_EQ(all().size(), 10U);
}

TEST_F(LedgerTest, ReadingWhereNothingWasEverWrittenMakesNothing) {
  auto ledger = Ledger::open_for_reading(state());
  ASSERT_FALSE(ledger);
  EXPECT_EQ(ledger.error().code.value(), ENOENT);
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST(ChainTest, BytesCannotMoveFromOneFieldToTheNext) {
  LedgerEntry one = entry_of(EventKind::ended, "a");
  one.why = "ab";
  one.evidence = "c";
  LedgerEntry other = one;
  other.why = "a";
  other.evidence = "bc";
  EXPECT_NE(chain(kNothingBefore, one), chain(kNothingBefore, other));
}

TEST(ChainTest, HashesAreWrittenAndReadBack) {
  const Hash hash = chain(kNothingBefore, entry_of(EventKind::begun, "a"));
  EXPECT_EQ(parse_hash(to_hex(hash)), hash);
  EXPECT_EQ(parse_hash("abc"), std::nullopt);
  EXPECT_EQ(parse_hash(std::string(64, 'g')), std::nullopt);
}

}  // namespace
}  // namespace gpuward::ledger
