#include "os/socket.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <string>

#include "child.h"

namespace gpuward::os {
namespace {

TEST(ParseTcpAddress, TakesNumericAddresses) {
  const struct {
    const char* text;
    int family;
    std::uint16_t port;
  } table[] = {{"127.0.0.1:7860", AF_INET, 7860},
               {"0.0.0.0:80", AF_INET, 80},
               {"255.255.255.255:65535", AF_INET, 65535},
               {"[::1]:7860", AF_INET6, 7860},
               {"[::]:1", AF_INET6, 1},
               {"[::ffff:1.2.3.4]:9", AF_INET6, 9},
               {"[2001:db8:0:0:0:0:0:1]:443", AF_INET6, 443}};
  for (const auto& row : table) {
    const auto address = parse_tcp_address(row.text);
    ASSERT_TRUE(address) << row.text;
    EXPECT_EQ(address->storage.ss_family, row.family) << row.text;
    EXPECT_EQ(address->port(), row.port) << row.text;
  }
}

TEST(ParseTcpAddress, RefusesEverythingElse) {
  for (const char* bad : {"",
                          ":",
                          ":80",
                          "80",
                          "127.0.0.1",
                          "127.0.0.1:",
                          "127.0.0.1:0",
                          "127.0.0.1:65536",
                          "127.0.0.1:-1",
                          "127.0.0.1:+80",
                          "127.0.0.1: 80",
                          "127.0.0.1:80 ",
                          " 127.0.0.1:80",
                          "127.0.0.1:8o",
                          "127.0.0.1:99999999999999999999",
                          "127.1:80",
                          "1.2.3.4.5:80",
                          "256.0.0.1:80",
                          "localhost:80",
                          "::1:80",
                          "[::1]",
                          "[]:80",
                          "[::1:80",
                          "::1]:80",
                          "[127.0.0.1]:80",
                          "[::1%lo]:80",
                          "[fe80::1%eth0]:80",
                          "127.0.0.1:80:80",
                          "http://127.0.0.1:80",
                          "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:80"})
    EXPECT_FALSE(parse_tcp_address(bad)) << bad;
}

TEST(ParseTcpAddress, RefusesWhatStandsBehindAZeroByte) {
  EXPECT_FALSE(parse_tcp_address(std::string_view("127.0.0.1\0.evil:80", 18)));
  EXPECT_FALSE(parse_tcp_address(std::string_view("[::1\0x]:80", 10)));
  EXPECT_FALSE(parse_tcp_address(std::string_view("127.0.0.1:80\0", 13)));
}

TEST(UnixSocket, WorksInAFolderWithAPathOfAnyLength) {
  const TempFolder folder;
  std::string path = folder.path();
  for (int n = 0; n < 5; ++n) path += "/" + std::string(200, 'x');
  ASSERT_TRUE(make_directories(path, 0700));
  const auto dir = Fd::open(path, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(dir);
  const auto listening = listen_unix_at(*dir, "control");
  ASSERT_TRUE(listening) << listening.error().message();
  struct stat info{};
  ASSERT_EQ(::fstatat(dir->get(), "control", &info, 0), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto client = connect_unix_at(*dir, "control");
  ASSERT_TRUE(client) << client.error().message();
  const auto peer = peer_of(*client);
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->pid, Pid{::getpid()});
  EXPECT_EQ(peer->uid, ::geteuid());
}

TEST(UnixSocket, AnOldSocketFileIsReplaced) {
  const TempFolder folder;
  {
    ASSERT_TRUE(listen_unix_at(folder.dir(), "control"));
  }
  auto nobody = connect_unix_at(folder.dir(), "control");
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code.value(), ECONNREFUSED);
  const auto again = listen_unix_at(folder.dir(), "control");
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_TRUE(connect_unix_at(folder.dir(), "control"));
  nobody = connect_unix_at(folder.dir(), "other");
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code.value(), ENOENT);
}

TEST(UnixSocket, ANameThatDoesNotFitIsAnError) {
  const TempFolder folder;
  const auto listening = listen_unix_at(folder.dir(), std::string(120, 'x'));
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().code.value(), ENAMETOOLONG);
}

// A listening socket at a port that the kernel chooses.
struct Listening {
  explicit Listening(int family = AF_INET, bool any = false) {
    socket = Fd::take(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address = *parse_tcp_address(family == AF_INET6 ? (any ? "[::]:1" : "[::1]:1")
                                                    : (any ? "0.0.0.0:1" : "127.0.0.1:1"));
    auto* plain = reinterpret_cast<sockaddr*>(&address.storage);
    const int on = 1;  // as nearly every server does
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6)
      reinterpret_cast<sockaddr_in6*>(plain)->sin6_port = 0;
    else
      reinterpret_cast<sockaddr_in*>(plain)->sin_port = 0;
    good = ::bind(socket.get(), plain, address.length) == 0 && ::listen(socket.get(), 4) == 0 &&
           ::getsockname(socket.get(), plain, &address.length) == 0;
  }
  Fd socket;
  TcpAddress address;
  bool good = false;
};

TEST(PortTaken, SeesAListenerOnTheAddressAndOnTheWildcard) {
  for (const bool any : {false, true}) {
    Listening server(AF_INET, any);
    ASSERT_TRUE(server.good);
    const auto loopback = *parse_tcp_address("127.0.0.1:" + std::to_string(server.address.port()));
    const auto taken = port_taken(loopback);
    ASSERT_TRUE(taken) << taken.error().message();
    EXPECT_TRUE(*taken);
    server.socket.close();
    EXPECT_FALSE(*port_taken(loopback));
  }
}

TEST(PortTaken, APortInTimeWaitIsFree) {
  Listening server;
  ASSERT_TRUE(server.good);
  {
    const auto client = start_connect(server.address);
    ASSERT_TRUE(client);
    Fd accepted = Fd::take(::accept4(server.socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(accepted);
    accepted.close();  // the server's side closes first and keeps the port in TIME_WAIT
  }
  server.socket.close();
  const auto taken = port_taken(server.address);
  ASSERT_TRUE(taken) << taken.error().message();
  EXPECT_FALSE(*taken);
}

TEST(FreeLoopbackPort, IsFreeAndCanBeListenedOn) {
  const auto port = free_loopback_port();
  ASSERT_TRUE(port) << port.error().message();
  EXPECT_GE(*port, 1024);
  EXPECT_FALSE(*port_taken(*parse_tcp_address("127.0.0.1:" + std::to_string(*port))));
}

int result_of(const Fd& socket) {
  pollfd item{socket.get(), POLLOUT, 0};
  ::poll(&item, 1, 5000);
  return connect_result(socket);
}

TEST(StartConnect, TellsConnectedFromRefused) {
  Listening server;
  ASSERT_TRUE(server.good);
  const auto good = start_connect(server.address);
  ASSERT_TRUE(good);
  EXPECT_EQ(result_of(*good), 0);
  server.socket.close();
  const auto refused = start_connect(server.address);
  EXPECT_EQ(refused ? result_of(*refused) : refused.error().code.value(), ECONNREFUSED);
}

}  // namespace
}  // namespace gpuward::os
