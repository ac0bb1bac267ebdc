#include "anchor/probe.h"

#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <gtest/gtest.h>
#include <string>

namespace gpuward::anchor {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// A TCP server of one thread: the test drives it and the probe in turns.
class Server {
 public:
  Server() {
    auto address = *os::parse_tcp_address("127.0.0.1:1");
    auto* plain = reinterpret_cast<sockaddr*>(&address.storage);
    reinterpret_cast<sockaddr_in*>(plain)->sin_port = 0;
    listening_ = os::Fd::take(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::bind(listening_.get(), plain, address.length) == 0 &&
        ::listen(listening_.get(), 16) == 0 &&
        ::getsockname(listening_.get(), plain, &address.length) == 0)
      port_ = address.port();
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  void stop() { listening_.close(); }
  int asked() const { return asked_; }
  const std::string& request() const { return request_; }

  /// Serves what is there now: each connection gets @p answer once its request is whole, or at once
  /// when @p answer is empty, and is closed.
  void serve(std::string_view answer) {
    if (!connection_) {
      connection_ =
          os::Fd::take(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!connection_) return;
      ++asked_;
      request_.clear();
    }
    char buffer[2048];
    const ssize_t n = ::recv(connection_.get(), buffer, sizeof buffer, 0);
    if (n > 0) request_.append(buffer, buffer + n);
    if (n != 0 && !answer.empty() && !request_.ends_with("\r\n\r\n")) return;
    (void)::send(connection_.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
    connection_.close();
  }

 private:
  os::Fd listening_;
  os::Fd connection_;
  std::uint16_t port_ = 0;
  int asked_ = 0;
  std::string request_;
};

Readiness http_at(const std::string& address) {
  return {ReadyKind::http, address, "/health?deep=1", 60s};
}

// Advances both until the probe says yes, or @p attempts requests were made without one.
bool passes(Probe& probe, Server& server, std::string_view answer, int attempts = 3) {
  const auto until = Clock::now() + 5s;
  while (Clock::now() < until && server.asked() <= attempts) {
    if (probe.advance(Clock::now())) return true;
    server.serve(answer);
    pollfd item{probe.fd(), probe.events(), 0};
    if (probe.fd() >= 0) ::poll(&item, 1, 1);
  }
  EXPECT_GT(server.asked(), attempts) << "the probe gave up asking";
  return false;
}

TEST(Probe, A2xxOr3xxAnswerIsReady) {
  for (const char* status : {"200 OK", "204 No Content", "302 Found", "399 Odd"}) {
    Server server;
    const auto ready = http_at(server.address());
    Probe probe(ready);
    probe.start(Clock::now());
    EXPECT_TRUE(
        passes(probe, server, "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: 0\r\n\r\n"))
        << status;
    EXPECT_EQ(probe.evidence().view(), "GET /health?deep=1 answered " + std::string(status, 3));
  }
}

TEST(Probe, AsksOnePlainGet) {
  Server server;
  const auto ready = http_at(server.address());
  Probe probe(ready);
  probe.start(Clock::now());
  ASSERT_TRUE(passes(probe, server, "HTTP/1.0 200 OK\r\n\r\n"));
  EXPECT_EQ(server.request(),
            "GET /health?deep=1 HTTP/1.1\r\nHost: " + server.address() +
                "\r\nUser-Agent: gpuward\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

TEST(Probe, AnythingElseIsAskedAgain) {
  for (const char* answer :
       {"HTTP/1.1 500 Internal Server Error\r\n\r\n", "HTTP/1.1 503 Loading\r\n\r\n",
        "HTTP/1.1 404 No\r\n\r\n", "HTTP/1.1 199 x\r\n\r\n", "HTTP/1.1 2000 x",
        "HTTP/2 200\r\n\r\n", "HTTP/1.1 abc\r\n", "HTTP/1.1\r\n", "\r\n\r\n", "220 smtp ready\r\n",
        "\x16\x03\x01 not http at all, and longer than the line that is read of an answer", ""}) {
    Server server;
    const auto ready = http_at(server.address());
    Probe probe(ready);
    probe.start(Clock::now());
    EXPECT_FALSE(passes(probe, server, answer)) << answer;
    EXPECT_TRUE(probe.evidence().empty());
    EXPECT_TRUE(probe.active());
  }
}

TEST(Probe, IsReadyOnceALoadingServiceHasLoaded) {
  Server server;
  const auto ready = http_at(server.address());
  Probe probe(ready);
  probe.start(Clock::now());
  EXPECT_FALSE(passes(probe, server, "HTTP/1.1 503 Loading\r\n\r\n", 2));
  EXPECT_TRUE(passes(probe, server, "HTTP/1.1 200 OK\r\n\r\n", 1000));
}

TEST(Probe, AnOpenPortIsEnoughForTcp) {
  Server server;
  const Readiness ready{ReadyKind::tcp, server.address(), "", 60s};
  Probe probe(ready);
  probe.start(Clock::now());
  EXPECT_TRUE(passes(probe, server, "x"));
  EXPECT_EQ(probe.evidence().view(),
            "port " + server.address().substr(10) + " accepts connections");
}

// Time is the test's own here: the kernel refuses a connection to a closed port at once.
TEST(Probe, ARefusedPortIsAskedAgainAfterAGrowingPause) {
  Server server;
  const Readiness ready{ReadyKind::tcp, server.address(), "", 60s};
  server.stop();
  Probe probe(ready);
  Instant now = Clock::now();
  probe.start(now);
  EXPECT_EQ(probe.next(), now);
  for (const auto pause : {20ms, 40ms, 80ms, 160ms, 320ms, 500ms, 500ms}) {
    const auto until = Clock::now() + 5s;
    do ASSERT_FALSE(probe.advance(now));
    while (probe.fd() >= 0 && Clock::now() < until);
    EXPECT_EQ(probe.next(), now + pause);
    EXPECT_FALSE(probe.advance(probe.next() - 1ns));
    EXPECT_EQ(probe.fd(), -1) << "it waits for the pause to end";
    now = probe.next();
  }
}

TEST(Probe, AServiceThatNeverAnswersIsAskedAgainAtTheDeadline) {
  Server server;
  const auto ready = http_at(server.address());
  Probe probe(ready);
  const Instant start = Clock::now();
  probe.start(start);
  const auto until = Clock::now() + 5s;
  do ASSERT_FALSE(probe.advance(start));
  while (probe.events() != POLLIN && Clock::now() < until);
  ASSERT_EQ(probe.events(), POLLIN);
  EXPECT_EQ(probe.next(), start + Probe::kAttempt);
  EXPECT_FALSE(probe.advance(start + Probe::kAttempt));
  EXPECT_EQ(probe.fd(), -1);
  EXPECT_GT(probe.next(), start + Probe::kAttempt);
}

TEST(Probe, HasNothingToDoWhenStoppedOrNotAskedFor) {
  const Readiness started;
  Probe probe(started);
  probe.start(Clock::now());
  EXPECT_FALSE(probe.active());
  EXPECT_EQ(probe.next(), Instant::max());
  EXPECT_FALSE(probe.advance(Clock::now()));
  Server server;
  const Readiness ready{ReadyKind::tcp, server.address(), "", 60s};
  probe = Probe(ready);
  probe.start(Clock::now());
  probe.stop();
  EXPECT_FALSE(probe.advance(Clock::now()));
  EXPECT_EQ(server.asked(), 0);
}

}  // namespace
}  // namespace gpuward::anchor
