#include "os/listeners.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <set>

#include "child.h"
#include "os/socket.h"

namespace gpuward::os {
namespace {

class ListenersTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto address = *parse_tcp_address(GetParam());
    const bool v6 = address.storage.ss_family == AF_INET6;
    auto* plain = reinterpret_cast<sockaddr*>(&address.storage);
    (v6 ? reinterpret_cast<sockaddr_in6*>(plain)->sin6_port
        : reinterpret_cast<sockaddr_in*>(plain)->sin_port) = 0;
    socket_ = Fd::take(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket_ || ::bind(socket_.get(), plain, address.length) < 0)
      GTEST_SKIP() << "cannot listen at " << GetParam() << " here";
    ASSERT_EQ(::getsockname(socket_.get(), plain, &address.length), 0);
    port_ = address.port();
    struct stat info{};
    ASSERT_EQ(::fstat(socket_.get(), &info), 0);
    inode_ = info.st_ino;
  }
  // How many listeners there are on our port with our inode.
  int seen() const {
    int count = 0;
    const auto listed = for_each_listener([&](const Listener& listener) {
      if (listener.port != port_) return;
      EXPECT_EQ(listener.inode, inode_);
      ++count;
    });
    EXPECT_TRUE(listed) << listed.error().message();
    return count;
  }

  Fd socket_;
  std::uint16_t port_ = 0;
  std::uint64_t inode_ = 0;
};

TEST_P(ListenersTest, AListeningSocketIsSeenWithItsPortAndInode) {
  EXPECT_EQ(seen(), 0) << "bound, but it does not listen yet";
  ASSERT_EQ(::listen(socket_.get(), 1), 0);
  EXPECT_EQ(seen(), 1);
  socket_.close();
  EXPECT_EQ(seen(), 0);
}

TEST_P(ListenersTest, WhoWaitsToBeAcceptedOrReadIsCounted) {
  const auto waiting = [this] {
    std::uint32_t count = 0;
    const auto listed = for_each_waiting([&](std::uint16_t port, std::uint32_t connections) {
      if (port == port_) count += connections;
    });
    EXPECT_TRUE(listed) << listed.error().message();
    return count;
  };
  ASSERT_EQ(::listen(socket_.get(), 4), 0);
  EXPECT_EQ(waiting(), 0U);
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::getsockname(socket_.get(), plain, &length), 0);
  const Fd client = Fd::take(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), plain, length), 0);
  EXPECT_EQ(waiting(), 1U) << "connected, and not accepted";
  const Fd server = Fd::take(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(server);
  EXPECT_EQ(waiting(), 0U) << "accepted, and nothing was sent";
  char byte = 'x';
  ASSERT_EQ(::send(client.get(), &byte, 1, 0), 1);
  EXPECT_EQ(waiting(), 1U) << "sent, and not read";
  ASSERT_EQ(::recv(server.get(), &byte, 1, 0), 1);
  EXPECT_EQ(waiting(), 0U);
}

TEST_P(ListenersTest, ItsHolderIsUs) {
  ASSERT_EQ(::listen(socket_.get(), 1), 0);
  EXPECT_EQ(find_port_holder(port_), Pid{::getpid()});
  socket_.close();
  EXPECT_EQ(find_port_holder(port_), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Families, ListenersTest,
                         testing::Values("127.0.0.1:1", "0.0.0.0:1", "[::1]:1", "[::]:1"),
                         [](const auto& row) { return "Address" + std::to_string(row.index); });

TEST(ForEachSocket, FindsOursAndNoOtherDescriptors) {
  const auto sockets = [] {
    std::multiset<std::uint64_t> inodes;
    EXPECT_TRUE(
        for_each_socket(Pid{::getpid()}, [&](std::uint64_t inode) { inodes.insert(inode); }));
    return inodes;
  };
  const auto before = sockets();
  Fd socket = Fd::take(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto pipe = make_pipe();
  struct stat info{};
  ASSERT_EQ(::fstat(socket.get(), &info), 0);
  const auto during = sockets();
  EXPECT_EQ(during.size(), before.size() + 1);
  EXPECT_EQ(during.count(info.st_ino), 1U);
  socket.close();
  EXPECT_EQ(sockets(), before);
}

TEST(ForEachSocket, AProcessThatIsGoneIsAnError) {
  Child child;
  const Pid pid = child.pid();
  child.collect(SIGKILL);
  EXPECT_FALSE(for_each_socket(pid, [](std::uint64_t) {}));
}

}  // namespace
}  // namespace gpuward::os
