#include "os/port_owner.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "os/fd.h"

namespace gpuward::os {
namespace {

using Inodes = std::vector<std::uint64_t>;

// On a little-endian machine, as /proc shows them there.
constexpr std::string_view kV4 =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   0: 0100007F:1EB4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 "
    "1 0000000000000000 100 0 0 10 0\n"
    "   1: 0500000A:1EB4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 "
    "1 0000000000000000 100 0 0 10 0\n"
    "   2: 0100007F:1EB4 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 13 "
    "1 0000000000000000 20 4 30 10 -1\n"
    "   3: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 "
    "1 0000000000000000 100 0 0 10 0\n";

TcpAddress address(const char* text) {
  return *parse_tcp_address(text);
}

TEST(ParseListening, TakesListenersOfThePortAlone) {
  const auto found = parse_listening(kV4, false, 7860);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].inode, 11U);
  EXPECT_EQ(found[0].host[0], 127);
  EXPECT_EQ(found[1].host[0], 10);
  EXPECT_TRUE(parse_listening("", false, 7860).empty());
  EXPECT_TRUE(parse_listening("head\nrubbish\n\n 0: zz:1EB4 0:0 0A", false, 7860).empty());
}

TEST(InTheWay, IsTheSameHostOrTheWildcard) {
  const auto all = parse_listening(kV4, false, 7860);
  EXPECT_EQ(in_the_way(address("127.0.0.1:7860"), all), Inodes{11});
  EXPECT_EQ(in_the_way(address("10.0.0.5:7860"), all), Inodes{12});
  EXPECT_EQ(in_the_way(address("0.0.0.0:7860"), all), (Inodes{11, 12}));
  EXPECT_EQ(in_the_way(address("10.0.0.9:7860"), all), Inodes{});
  EXPECT_EQ(in_the_way(address("[::1]:7860"), all), Inodes{});
}

TEST(InTheWay, TheWildcardOfV6CountsWhereNothingElseDoes) {
  ListeningAt any6{21, true, {}};
  ListeningAt loopback4{22, false, {127, 0, 0, 1}};
  ListeningAt mapped{23, true, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1}};
  EXPECT_EQ(in_the_way(address("127.0.0.1:1"), {any6}), Inodes{21});
  EXPECT_EQ(in_the_way(address("127.0.0.1:1"), {any6, loopback4}), Inodes{22});
  EXPECT_EQ(in_the_way(address("127.0.0.1:1"), {any6, mapped}), Inodes{23});
  EXPECT_EQ(in_the_way(address("[::1]:1"), {any6, loopback4}), Inodes{21});
  EXPECT_EQ(in_the_way(address("[::]:1"), {loopback4}), Inodes{22});
}

TEST(SocketsInTheWay, FindsARealOneAndItsHolder) {
  for (const char* text : {"127.0.0.1:1", "0.0.0.0:1", "[::1]:1", "[::]:1"}) {
    TcpAddress at = address(text);
    reinterpret_cast<sockaddr_in*>(&at.storage)->sin_port = 0;  // where sin6_port is too
    Fd socket = Fd::take(::socket(at.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto* plain = reinterpret_cast<sockaddr*>(&at.storage);
    if (!socket || ::bind(socket.get(), plain, at.length) < 0) {
      std::fprintf(stderr, "no %s here, left out\n", text);
      continue;
    }
    ASSERT_EQ(::getsockname(socket.get(), plain, &at.length), 0);
    EXPECT_TRUE(sockets_in_the_way(at).empty()) << text;
    ASSERT_EQ(::listen(socket.get(), 1), 0);
    const auto sockets = sockets_in_the_way(at);
    ASSERT_EQ(sockets.size(), 1U) << text;
    EXPECT_EQ(holders_of(sockets), std::vector<Pid>{Pid{::getpid()}});
  }
  EXPECT_TRUE(holders_of({}).empty());
}

}  // namespace
}  // namespace gpuward::os
