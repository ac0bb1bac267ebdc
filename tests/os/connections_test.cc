#include "os/connections.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <gtest/gtest.h>

#include "os/fd.h"

namespace gpuward::os {
namespace {

constexpr std::string_view kText =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   0: 0100007F:1EB4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 "
    "1 0000000000000000 100 0 0 10 0\n"
    "   1: 0100007F:1EB4 0200007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 13 "
    "1 0000000000000000 20 4 30 10 -1\n"
    "   2: 0100007F:1EB4 0200007F:C002 08 00000000:00000000 00:00000000 00000000     0        0 14 "
    "1 0000000000000000 20 4 30 10 -1\n"
    "   3: 0200007F:C001 0100007F:1EB4 01 00000000:00000000 00:00000000 00000000     0        0 15 "
    "1 0000000000000000 20 4 30 10 -1\n";

using Ports = std::map<std::uint16_t, Connections>;

TEST(ParseConnections, TakesOurEndsOfThePortsThatAreEstablished) {
  Ports found = {{7860, {}}, {0xC001, {}}, {1, {}}};
  parse_connections(kText, 10, found);
  ASSERT_EQ(found.size(), 3U);
  ASSERT_EQ(found[7860].list.size(), 1U);
  const Connection& one = found[7860].list[0];
  EXPECT_EQ(one.inode, 13U);
  EXPECT_EQ(one.peer_port, 0xC001);
  EXPECT_STREQ(std::string(one.peer.data(), 8).c_str(), "0200007F");
  EXPECT_EQ(found[0xC001].list.size(), 1U);
  EXPECT_TRUE(found[1].list.empty());
  EXPECT_FALSE(found[7860].full || found[1].full);
}

TEST(ParseConnections, SaysThatThereAreMore) {
  Ports found = {{7860, {}}, {1, {}}};
  parse_connections(kText, 0, found);
  EXPECT_TRUE(found[7860].full && found[7860].list.empty());
  EXPECT_FALSE(found[1].full);
}

TEST(ParseConnections, PassesOverRubbish) {
  Ports found = {{7860, {}}};
  for (const auto* text : {"", "head", "head\n", "head\nrubbish\n\n 0: zz:1EB4 0:0 01",
                           "head\n 0: 0100007F:1EB4 0200007F:C001 01 1 2 3 4 5 x\n"})
    parse_connections(text, 10, found);
  EXPECT_TRUE(found[7860].list.empty());
}

TEST(ConnectionsAt, SeesAClientComeAndGo) {
  const Fd listener = Fd::take(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, length), 0);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  ASSERT_EQ(::getsockname(listener.get(), generic, &length), 0);
  const std::uint16_t port = ntohs(address.sin_port);
  const auto seen = [port] {
    auto all = connections_at({port, 1}, 10);
    EXPECT_TRUE(all && all->size() == 2 && all->at(1).list.empty());
    return all ? all->at(port).list : std::vector<Connection>();
  };
  EXPECT_TRUE(seen().empty());
  Fd client = Fd::take(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), generic, length), 0);
  Fd served = Fd::take(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const auto during = seen();
  ASSERT_EQ(during.size(), 1U);
  EXPECT_EQ(during, seen()) << "the same one is known again";
  client.close();
  served.close();
  EXPECT_TRUE(seen().empty());
}

}  // namespace
}  // namespace gpuward::os
