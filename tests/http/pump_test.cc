#include "http/pump.h"

#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <string>

namespace gpuward::http {
namespace {

using Kind = Framing::Kind;
using State = Pump::State;
constexpr Framing kChunked{Kind::chunked, 0};

/// A sender and a receiver with the pump's two sockets between them.
class PumpTest : public testing::Test {
 protected:
  PumpTest() {
    connect(sender, from);
    connect(to, receiver);
  }
  static void connect(os::Fd& a, os::Fd& b) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    a = os::Fd::take(ends[0]);
    b = os::Fd::take(ends[1]);
  }
  void say(std::string_view text) const {
    ASSERT_EQ(::write(sender.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  /// What lies at the receiver now.
  std::string heard() const {
    std::string text(1 << 20, '\0');
    const auto count = ::read(receiver.get(), text.data(), text.size());
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
  State run(Pump& pump) const { return pump.run(from, to); }

  BufferPool pool;
  os::Fd sender, from, to, receiver;
};

TEST_F(PumpTest, PassesHeadAndBodyOnAndKeepsWhatFollows) {
  Pump pump(pool, {Kind::length, 10}, "HEAD ", "hello");
  EXPECT_EQ(run(pump), State::wants_bytes);
  EXPECT_EQ(heard(), "HEAD hello");
  say("worldGET /");
  EXPECT_EQ(run(pump), State::done);
  EXPECT_EQ(heard(), "world");
  EXPECT_EQ(pump.rest(), "GET /");
  EXPECT_EQ(pump.sent(), 15U);
}

TEST_F(PumpTest, AMessageWithoutBodyIsItsHead) {
  Pump pump(pool, {Kind::none, 0}, "HEAD", "next");
  EXPECT_EQ(run(pump), State::done);
  EXPECT_EQ(heard(), "HEAD");
  EXPECT_EQ(pump.rest(), "next");
}

TEST_F(PumpTest, PassesEachEventOnWhenItComesAndHoldsNoBufferBetween) {
  Pump pump(pool, {Kind::until_close, 0}, "", "");
  for (const char* event : {"data: one\n\n", "data: two\n\n"}) {
    say(event);
    EXPECT_EQ(run(pump), State::wants_bytes);
    EXPECT_EQ(heard(), event);
    EXPECT_EQ(pool.lent(), 0U);
  }
  sender.close();
  EXPECT_EQ(run(pump), State::done);
}

TEST_F(PumpTest, ReadsToTheEndBehindAShortReadUnlessItTrustsIt) {
  Pump pump(pool, {Kind::until_close, 0}, "", "");
  pump.trust_short_reads(true);
  say("data: one\n\n");
  sender.close();
  EXPECT_EQ(run(pump), State::wants_bytes) << "the close will be told";
  EXPECT_EQ(heard(), "data: one\n\n");
  pump.trust_short_reads(false);
  EXPECT_EQ(run(pump), State::done);
}

TEST_F(PumpTest, KeepsTheLastBytesOfTheBodyWhereItIsAskedTo) {
  Pump pump(pool, {Kind::until_close, 0}, "HEAD", "");
  pump.keep_tail();
  say(std::string(200, 'x'));
  EXPECT_EQ(run(pump), State::wants_bytes);
  EXPECT_EQ(pump.tail(), std::string(Pump::kTail, 'x'));
  say("data: [DO");
  EXPECT_EQ(run(pump), State::wants_bytes);
  say("NE]\n\n");
  EXPECT_EQ(run(pump), State::wants_bytes);
  EXPECT_TRUE(pump.tail().ends_with("xdata: [DONE]\n\n"));
  EXPECT_EQ(pump.tail().size(), Pump::kTail);
}

TEST_F(PumpTest, WhatIsThrownAwayIsFollowedToItsEnd) {
  Pump pump(pool, {Kind::length, 10}, "HEAD", "hello");
  pump.discard();
  say("worldnext");
  EXPECT_EQ(run(pump), State::done);
  EXPECT_EQ(heard(), "");
  EXPECT_EQ(pump.rest(), "next");
  EXPECT_EQ(pump.sent(), 14U);
}

TEST_F(PumpTest, HoldsBackOnlyAPieceOfAChunksHead) {
  Pump pump(pool, kChunked, "", "");
  say("5\r\nhello\r\n1");
  EXPECT_EQ(run(pump), State::wants_bytes);
  EXPECT_EQ(heard(), "5\r\nhello");
  EXPECT_EQ(pool.lent(), 0U);  // a stream that idles here costs no memory
  say("\r\n!\r\n0\r\n\r\n");
  EXPECT_EQ(run(pump), State::done);
  EXPECT_EQ(heard(), "\r\n1\r\n!\r\n0\r\n\r\n");
  EXPECT_EQ(pump.rest(), "");
}

TEST_F(PumpTest, PassesNothingOnOfWhatIsMalformed) {
  Pump pump(pool, kChunked, "", "");
  say("1\r\na\r\n");
  EXPECT_EQ(run(pump), State::wants_bytes);
  say("oops\r\n");
  EXPECT_EQ(run(pump), State::malformed);
  EXPECT_EQ(heard(), "1\r\na");
  EXPECT_FALSE(pump.refusal().why.empty());
}

TEST_F(PumpTest, ASlowReceiverSlowsTheSenderAndMemoryStaysFlat) {
  Pump pump(pool, {Kind::length, 1 << 30}, "", "");
  const std::string piece(64 << 10, 'x');
  State state = State::wants_bytes;
  std::size_t given = 0;
  // The receiver reads nothing: soon neither side goes on.
  while (true) {
    const auto count = ::write(sender.get(), piece.data(), piece.size());
    if (count > 0) given += static_cast<std::size_t>(count);
    state = run(pump);
    EXPECT_LE(pool.lent(), 1U);
    if (count < 0 && state == State::wants_room) break;
    ASSERT_LT(given, std::size_t{64} << 20) << "it takes bytes without end";
  }
  std::size_t got = heard().size();
  EXPECT_GT(got, 0U);
  while (run(pump) != State::wants_bytes) got += heard().size();
  while (const auto more = heard().size()) got += more;
  EXPECT_EQ(got, given);
  EXPECT_EQ(pool.lent(), 0U);
}

TEST_F(PumpTest, LeavesOthersTheirTurn) {
  Pump pump(pool, {Kind::length, 1 << 30}, "", "");
  const std::string piece(32 << 10, 'x');
  while (::write(sender.get(), piece.data(), piece.size()) > 0) continue;
  EXPECT_EQ(run(pump), State::wants_turn);
  const auto passed = pump.sent();
  EXPECT_EQ(heard().size(), passed);
  (void)run(pump);  // there was more
  EXPECT_GT(pump.sent(), passed);
}

TEST_F(PumpTest, KnowsWhoHasGone) {
  Pump cut(pool, {Kind::length, 10}, "", "");
  say("hello");
  sender.close();
  EXPECT_EQ(run(cut), State::cut_off);
  EXPECT_EQ(heard(), "hello");

  receiver.close();
  Pump unheard(pool, {Kind::length, 10}, "", "hello");
  EXPECT_EQ(run(unheard), State::receiver_lost);
}

TEST_F(PumpTest, GivesItsBufferBackWhenItIsDestroyed) {
  {
    Pump pump(pool, {Kind::length, 1 << 30}, "", "hello");
    const std::string piece(64 << 10, 'x');
    while (run(pump) != State::wants_room)
      while (::write(sender.get(), piece.data(), piece.size()) > 0) continue;
    EXPECT_EQ(pool.lent(), 1U);
  }
  EXPECT_EQ(pool.lent(), 0U);
}

}  // namespace
}  // namespace gpuward::http
