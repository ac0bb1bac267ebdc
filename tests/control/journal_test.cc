#include "control/journal.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "control/messages.h"
#include "os/fd.h"
#include "support/temp_folder.h"

namespace gpuward::control {
namespace {

class JournalTest : public testing::Test {
 protected:
  JournalTest() : anchor_{"app", 2, folder_.path()} {}

  static std::vector<std::byte> frame(std::uint64_t number) {
    JournalEntry entry;
    entry.event = EventKind::ready;
    entry.number = number;
    entry.anchor = {Pid{77}, 1234};
    entry.boot_id = "boot";
    entry.evidence = "GET / answered 200";
    std::vector<std::byte> buffer(4096);
    auto bytes = wire::encode(entry, buffer);
    EXPECT_TRUE(bytes);
    return {bytes->begin(), bytes->end()};
  }
  void append(std::span<const std::byte> bytes, const char* name = "journal") const {
    auto file = os::Fd::open_at(folder_.dir(), name, O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_TRUE(file);
    ASSERT_TRUE(os::write_all(*file, bytes, name));
  }
  std::vector<std::uint64_t> news() {
    std::vector<std::uint64_t> numbers;
    for (const auto& entry : reader_.news_of(anchor_)) numbers.push_back(entry.origin_number);
    return numbers;
  }

  using Numbers = std::vector<std::uint64_t>;
  tests::TempFolder folder_;
  AnchorFolder anchor_;
  JournalReader reader_;
};

TEST_F(JournalTest, GivesEachEntryWithWhoseItIs) {
  append(frame(1));
  const auto entries = reader_.news_of(anchor_);
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].service, "app");
  EXPECT_EQ(entries[0].replica, 2U);
  EXPECT_EQ(entries[0].kind, EventKind::ready);
  EXPECT_EQ(entries[0].evidence, "GET / answered 200");
  EXPECT_EQ(entries[0].origin, "boot 77 1234");
  EXPECT_EQ(entries[0].origin_number, 1U);
}

TEST_F(JournalTest, GivesOnlyWhatIsNew) {
  append(frame(1));
  EXPECT_EQ(news(), Numbers{1});
  EXPECT_EQ(news(), Numbers{});
  append(frame(2));
  append(frame(3));
  EXPECT_EQ(news(), (Numbers{2, 3}));
}

// An anchor may be killed in the middle of an entry; the next one goes on behind it.
TEST_F(JournalTest, WaitsForTheRestOfAnEntry) {
  const auto one = frame(1);
  append(std::span(one).first(9));
  EXPECT_EQ(news(), Numbers{});
  append(std::span(one).subspan(9));
  EXPECT_EQ(news(), Numbers{1});
}

TEST_F(JournalTest, ReadsTheEndOfTheOldFileBeforeTheNewOne) {
  append(frame(1));
  EXPECT_EQ(news(), Numbers{1});
  append(frame(2));
  ASSERT_EQ(::renameat(folder_.dir().get(), "journal", folder_.dir().get(), "journal.old"), 0);
  append(frame(3));
  EXPECT_EQ(news(), (Numbers{2, 3}));
}

TEST_F(JournalTest, ReadsBothFilesWhenItComesLate) {
  append(frame(1), "journal.old");
  append(frame(2));
  EXPECT_EQ(news(), (Numbers{1, 2}));
}

TEST_F(JournalTest, PassesOverWhatIsNoEntry) {
  auto broken = frame(1);
  broken[4] = std::byte{'x'};
  append(broken);
  append(frame(2));
  EXPECT_EQ(news(), Numbers{2});
}

TEST_F(JournalTest, AForeignFileGivesNothing) {
  append(std::vector<std::byte>(3000, std::byte{0xff}));
  EXPECT_EQ(news(), Numbers{});
  ASSERT_EQ(::unlinkat(folder_.dir().get(), "journal", 0), 0);
  ASSERT_EQ(::mkfifoat(folder_.dir().get(), "journal", 0600), 0);
  EXPECT_EQ(news(), Numbers{}) << "a FIFO is not waited on";
}

TEST_F(JournalTest, AnEndIsToldByItsReceipt) {
  JournalEntry entry;
  entry.receipt.generation = 3;
  entry.receipt.processes_ended = 2;
  entry.receipt.memory = MemoryProof::none;
  Survivor survivor;
  survivor.pid = Pid{9};
  survivor.name = "stuck";
  survivor.state = 'D';
  survivor.killed_for = std::chrono::seconds(7);
  entry.receipt.survivors.push_back(survivor);
  const auto made = ledger_entry(anchor_, entry);
  EXPECT_EQ(made.evidence, "ended 2 processes in 0 s, 1 LEFT; it held no GPU memory");
  EXPECT_EQ(made.outcome, "pid 9 (stuck), state D, KILL was sent 7.0 s ago");
}

}  // namespace
}  // namespace gpuward::control
