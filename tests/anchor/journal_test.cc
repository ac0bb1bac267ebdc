#include "anchor/journal.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "control/journal.h"
#include "support/temp_folder.h"

namespace gpuward::anchor {
namespace {

class JournalFileTest : public testing::Test {
 protected:
  static JournalEntry entry(EventKind kind) {
    JournalEntry made;
    made.event = kind;
    return made;
  }
  std::vector<EventKind> kinds() const {
    std::vector<EventKind> found;
    control::JournalReader reader;
    for (const auto& one : reader.news_of({"app", 0, folder_.path()})) found.push_back(one.kind);
    return found;
  }
  tests::TempFolder folder_;
};

TEST_F(JournalFileTest, NumbersItsEntries) {
  Journal journal({Pid{5}, 100}, Text<40>("boot"));
  for (std::uint64_t n = 1; n <= 3; ++n) {
    auto made = entry(EventKind::ready);
    ASSERT_TRUE(journal.append(folder_.dir(), made));
    EXPECT_EQ(made.number, n);
    EXPECT_GT(made.at_unix_ms, 0);
  }
  EXPECT_EQ(kinds().size(), 3U);
}

// An anchor was killed while it wrote: what its successor writes must not be read as the rest.
TEST_F(JournalFileTest, HalfAnEntryOfADeadAnchorHidesNothing) {
  Journal dead({Pid{5}, 100}, Text<40>("boot"));
  auto first = entry(EventKind::starting);
  ASSERT_TRUE(dead.append(folder_.dir(), first));
  {
    auto file = os::Fd::open_at(folder_.dir(), "journal", O_WRONLY | O_APPEND);
    ASSERT_TRUE(file);
    ASSERT_TRUE(os::write_all(*file, std::string_view("\x80\0\0\0gw\1\5half", 12), "half"));
  }
  Journal next({Pid{6}, 200}, Text<40>("boot"));
  for (const auto kind : {EventKind::adopted, EventKind::ready}) {
    auto made = entry(kind);
    ASSERT_TRUE(next.append(folder_.dir(), made));
  }
  EXPECT_EQ(kinds(), (std::vector{EventKind::starting, EventKind::adopted, EventKind::ready}));
}

}  // namespace
}  // namespace gpuward::anchor
