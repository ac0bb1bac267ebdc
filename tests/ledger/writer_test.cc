#include "ledger/writer.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <thread>

#include "ledger/ledger.h"
#include "os/fd.h"
#include "support/temp_folder.h"

namespace gpuward::ledger {
namespace {

using namespace std::chrono_literals;

class WriterTest : public testing::Test {
 protected:
  Writer::Settings settings() const { return {folder_.path(), {std::chrono::days(400), ""}, {}}; }
  static LedgerEntry entry() {
    LedgerEntry entry;
    entry.kind = EventKind::begun;
    entry.service = "a";
    return entry;
  }
  static std::optional<std::uint64_t> add_and_wait(Writer& writer) {
    std::promise<std::optional<std::uint64_t>> promise;
    auto number = promise.get_future();
    writer.add({entry()}, [&](std::optional<std::uint64_t> n) { promise.set_value(n); });
    if (number.wait_for(10s) != std::future_status::ready) {
      ADD_FAILURE() << "nothing was written within 10 s";
      return std::nullopt;
    }
    return number.get();
  }
  std::uint64_t count() const {
    auto ledger = Ledger::open_for_reading(folder_.path());
    auto head = ledger ? ledger->head() : Result<Head>(fail(ledger.error()));
    return head ? head->number : 0;
  }
  tests::TempFolder folder_;
};

TEST_F(WriterTest, TellsTheNumberOnceTheEntryIsOnTheDisk) {
  Writer writer(settings());
  for (std::uint64_t n = 1; n <= 3; ++n) {
    EXPECT_EQ(add_and_wait(writer), n);
    EXPECT_EQ(count(), n);
  }
}

TEST_F(WriterTest, WritesWhatWaitsBeforeItEnds) {
  {
    Writer writer(settings());
    for (int n = 0; n < 500; ++n) writer.add({entry()});
    writer.add_from([] { return Writer::Entries{entry(), entry()}; });
  }
  EXPECT_EQ(count(), 502U);
}

// After a restart the journals of a thousand services are read again.
TEST_F(WriterTest, WhatIsReadIsWrittenBeforeMuchMoreIsRead) {
  std::vector<std::uint64_t> written_before;
  {
    Writer writer(settings());
    for (int n = 0; n < 4; ++n)
      writer.add_from([&] {
        written_before.push_back(count());
        return Writer::Entries(600, entry());
      });
  }
  EXPECT_EQ(written_before, (std::vector<std::uint64_t>{0, 600, 1200, 1800}));
}

TEST_F(WriterTest, LeavesADiskThatHangsAndSaysWhatMayBeLost) {
  std::promise<void> hangs;
  const auto back = std::make_shared<std::promise<void>>();
  auto hung = hangs.get_future();
  std::size_t lost = 0;
  int called = 0;
  {
    auto ours = settings();
    ours.patience = 50ms;
    ours.on_left_behind = [&](std::size_t entries) { lost = entries; };
    Writer writer(std::move(ours));
    writer.add_from([&hangs, back]() -> Writer::Entries {
      hangs.set_value();
      back->get_future().wait();  // a journal on a disk that does not answer
      return {};
    });
    ASSERT_EQ(hung.wait_for(10s), std::future_status::ready);
    for (int n = 0; n < 3; ++n)
      writer.add({entry()}, [&called](std::optional<std::uint64_t>) { ++called; });
  }
  EXPECT_EQ(lost, 3U);
  back->set_value();  // it answers after all
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (count() < 3 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(count(), 3U);
  EXPECT_EQ(called, 0) << "whoever would hear it is gone";
}

TEST_F(WriterTest, ManyThreadsMayAdd) {
  {
    Writer writer(settings());
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int n = 0; n < 100; ++n) writer.add({entry()});
      });
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(count(), 400U);
}

// Whoever waits for the entry is told at once that there is none; what was meant is still recorded
// when the place can be written again.
TEST_F(WriterTest, ALedgerThatCannotBeWrittenHoldsNobodyUp) {
  auto broken = settings();
  broken.state += "/not-there-yet";
  std::promise<std::string> first;
  std::string now;
  bool told = false;
  broken.on_trouble = [&](std::string why) {
    if (!std::exchange(told, true)) first.set_value(why);
    now = std::move(why);
  };
  {
    Writer writer(broken);
    EXPECT_EQ(add_and_wait(writer), std::nullopt);
    auto why = first.get_future();
    ASSERT_EQ(why.wait_for(10s), std::future_status::ready);
    EXPECT_NE(why.get().find("not-there-yet"), std::string::npos);
    ASSERT_EQ(::mkdir(broken.state.c_str(), 0700), 0);
    EXPECT_EQ(add_and_wait(writer), 2U) << "with the one before it";
  }
  EXPECT_EQ(now, "");
}

TEST_F(WriterTest, TheHeadGoesToSyslog) {
  const std::string path = folder_.path() + "/log";
  const os::Fd log = os::Fd::take(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(log);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(log.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  auto with_log = settings();
  with_log.policy.syslog = path;
  {
    Writer writer(with_log);
  }
  std::string text(1024, '\0');
  const ssize_t n = ::recv(log.get(), text.data(), text.size(), MSG_DONTWAIT);
  ASSERT_GT(n, 0);
  text.resize(static_cast<std::size_t>(n));
  EXPECT_TRUE(text.starts_with("<86>gpuwardd[")) << text;
  EXPECT_TRUE(text.ends_with("entry 0, head " + to_hex(kNothingBefore))) << text;
}

}  // namespace
}  // namespace gpuward::ledger
