#include "http/loop.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <gtest/gtest.h>
#include <memory>

namespace gpuward::http {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

/// Counts what it is told, and does what the test wants then.
struct Told final : Handler {
  int ready = 0;
  int deadlines = 0;
  Ready last;
  std::function<void()> then = [] {};

  void on_ready(Ready now) override {
    ++ready;
    last = now;
    then();
  }
  void on_deadline() override {
    ++deadlines;
    then();
  }
};

struct Pair {
  os::Fd ours;
  os::Fd peer;
};
Pair connected() {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  return {os::Fd::take(ends[0]), os::Fd::take(ends[1])};
}

/// Over TCP a close is only the end of what the peer sends: the kernel does not call it a hang-up.
Pair connected_over_tcp() {
  const auto listening = os::Fd::take(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listening.get(), any, length), 0);
  EXPECT_EQ(::listen(listening.get(), 1), 0);
  EXPECT_EQ(::getsockname(listening.get(), any, &length), 0);
  auto peer = os::Fd::take(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(peer.get(), any, length), 0);
  return {os::Fd::take(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC)),
          std::move(peer)};
}

class LoopTest : public testing::Test {
 protected:
  /// One turn that does not wait.
  void turn() { ASSERT_TRUE(loop->turn(Duration::zero())); }
  Loop::Watch watch(const os::Fd& fd, Handler& handler) {
    auto made = loop->watch(fd, handler);
    EXPECT_TRUE(made) << made.error().message();
    return std::move(*made);
  }

  std::unique_ptr<Loop> loop = Loop::make().value();
};

TEST_F(LoopTest, TellsOnceWhenBytesComeAndNotAgainWhileTheyLie) {
  const auto [ours, peer] = connected();
  Told told;
  const auto watching = watch(ours, told);
  turn();
  EXPECT_EQ(told.ready, 1);
  EXPECT_TRUE(told.last.writable);
  EXPECT_FALSE(told.last.readable);
  ASSERT_EQ(::write(peer.get(), "a", 1), 1);
  turn();
  turn();
  EXPECT_EQ(told.ready, 2);
  EXPECT_TRUE(told.last.readable);
  EXPECT_FALSE(told.last.peer_closed);
}

TEST_F(LoopTest, TellsACloseBehindBytesThatNobodyHasRead) {
  auto [ours, peer] = connected_over_tcp();
  Told told;
  const auto watching = watch(ours, told);
  ASSERT_EQ(::write(peer.get(), "body", 4), 4);
  while (!told.last.readable) ASSERT_TRUE(loop->turn());
  EXPECT_FALSE(told.last.peer_closed);
  peer.close();
  while (!told.last.peer_closed) {
    const int before = told.ready;
    ASSERT_TRUE(loop->turn(std::chrono::seconds(20)));
    ASSERT_GT(told.ready, before) << "the close is not told";
  }
}

TEST_F(LoopTest, NobodyIsToldWhoGaveUpInTheSameTurn) {
  const auto [a, a_peer] = connected();
  const auto [b, b_peer] = connected();
  Told first;
  Told second;
  auto watch_first = watch(a, first);
  auto watch_second = watch(b, second);
  first.then = [&] { watch_second.reset(); };
  second.then = [&] { watch_first.reset(); };
  turn();
  EXPECT_EQ(first.ready + second.ready, 1);
}

TEST_F(LoopTest, ANewOwnerIsNotToldWhatWasMeantForTheOldOne) {
  const auto [a, a_peer] = connected();
  const auto [b, b_peer] = connected();
  Told first;
  Told second;
  Told heir;
  auto watch_first = watch(a, first);
  auto watch_second = watch(b, second);
  Loop::Watch watch_heir;
  const auto replace = [&](Loop::Watch& other) {
    other.reset();
    watch_heir = loop->timer(heir);  // takes the place that has just become free
  };
  first.then = [&] { replace(watch_second); };
  second.then = [&] { replace(watch_first); };
  turn();
  EXPECT_EQ(first.ready + second.ready, 1);
  EXPECT_EQ(heir.ready, 0);
}

TEST_F(LoopTest, WhoeverIsToldMayDestroyItself) {
  const auto [ours, peer] = connected();
  Told told;
  auto watching = watch(ours, told);
  told.then = [&] { watching.reset(); };
  turn();
  ASSERT_EQ(::write(peer.get(), "a", 1), 1);
  turn();
  EXPECT_EQ(told.ready, 1);
}

TEST_F(LoopTest, ADeadlineIsToldOnceAndNotBeforeItsTime) {
  Told told;
  auto timer = loop->timer(told);
  const auto when = Instant::clock::now() + milliseconds(20);
  timer.set_deadline(when);
  while (told.deadlines == 0) ASSERT_TRUE(loop->turn());
  EXPECT_GE(loop->now(), when);
  turn();
  EXPECT_EQ(told.deadlines, 1);
}

TEST_F(LoopTest, ADeadlineCanBeMovedAndTakenBack) {
  Told moved_back;
  Told moved_forward;
  Told taken_back;
  auto back = loop->timer(moved_back);
  auto forward = loop->timer(moved_forward);
  auto taken = loop->timer(taken_back);
  const auto past = Instant::clock::now() - milliseconds(1);
  const auto far = past + hours(1);
  back.set_deadline(past);
  back.set_deadline(far);
  forward.set_deadline(far);
  forward.set_deadline(past);
  taken.set_deadline(past);
  taken.clear_deadline();
  turn();
  EXPECT_EQ(moved_back.deadlines, 0);
  EXPECT_EQ(moved_forward.deadlines, 1);
  EXPECT_EQ(taken_back.deadlines, 0);
  back.set_deadline(past);
  turn();
  EXPECT_EQ(moved_back.deadlines, 1);
}

TEST_F(LoopTest, ADeadlineEndsWithItsOwner) {
  Told told;
  auto timer = loop->timer(told);
  timer.set_deadline(Instant::clock::now() - milliseconds(1));
  timer.reset();
  Told heir;
  const auto next = loop->timer(heir);
  turn();
  EXPECT_EQ(told.deadlines + heir.deadlines, 0);
}

TEST_F(LoopTest, DeadlinesThatMoveBackWithEachRequestTakeNoMemory) {
  Told told;
  auto timer = loop->timer(told);
  const auto start = Instant::clock::now() + hours(1);
  for (int n = 0; n < 100'000; ++n) timer.set_deadline(start + milliseconds(n));
  EXPECT_EQ(loop->alarms_for_test(), 1U);
}

TEST_F(LoopTest, WhoeverStoppedEarlyIsCalledAgainWithoutWaiting) {
  Told told;
  auto timer = loop->timer(told);
  timer.again();
  timer.again();
  ASSERT_TRUE(loop->turn());  // would wait for ever
  EXPECT_EQ(told.ready, 1);
  told.then = [&] {
    if (told.ready < 5) timer.again();
  };
  timer.again();
  for (int n = 0; n < 10; ++n) turn();
  EXPECT_EQ(told.ready, 5);
}

TEST_F(LoopTest, RunsUntilItIsStopped) {
  Told told;
  auto timer = loop->timer(told);
  told.then = [&] { loop->stop(); };
  timer.set_deadline(Instant::clock::now() + milliseconds(1));
  ASSERT_TRUE(loop->run());
  EXPECT_EQ(told.deadlines, 1);
}

TEST_F(LoopTest, SaysWhatCannotBeWatched) {
  Told told;
  const auto refused = loop->watch(os::Fd(), told);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(), "watch a descriptor: Bad file descriptor");
}

}  // namespace
}  // namespace gpuward::http
