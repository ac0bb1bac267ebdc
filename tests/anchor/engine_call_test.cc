#include "anchor/engine_call.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <gtest/gtest.h>
#include <optional>
#include <thread>

#include "anchor/http_status.h"
#include "os/clock.h"
#include "os/socket.h"

namespace gpuward::anchor {
namespace {

using Answer = EngineCall::Answer;

// A folder with sockets that give one answer each, or none.
class EngineCallTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "gpuward.engine.XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    for (auto& thread : threads_) thread.join();
    for (const auto& path : sockets_) ::unlink(path.c_str());
    ::rmdir(folder_.c_str());
  }
  os::Fd listen(const std::string& name) {
    auto dir = os::Fd::open(folder_, O_RDONLY | O_DIRECTORY);
    auto socket = os::listen_unix_at(*dir, name);
    EXPECT_TRUE(socket);
    sockets_.push_back(folder_ + "/" + name);
    return std::move(*socket);
  }
  void answer(const std::string& name, const std::string& text) {
    threads_.emplace_back([this, text, socket = listen(name)] {
      pollfd item{socket.get(), POLLIN, 0};
      if (::poll(&item, 1, 5000) != 1) return;
      const os::Fd client = os::Fd::take(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
      std::array<char, 512> asked{};
      const ssize_t n = ::recv(client.get(), asked.data(), asked.size(), 0);
      asked_ = std::string(asked.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
      (void)os::write_all(client, text, "the answer");
    });
  }
  Answer call() {
    EngineCall call(sockets_);
    call.start("ab", "SIGKILL", os::now());
    const Instant deadline = os::now() + std::chrono::seconds(10);
    while (!call.advance(os::now()) && os::now() < deadline) {
      pollfd item{call.fd(), call.events(), 0};
      (void)::poll(&item, 1, os::poll_timeout(call.next()));
    }
    EXPECT_FALSE(call.busy());
    first_answered_ = call.first_answered();
    return call.answer();
  }

  std::string folder_;
  std::vector<std::string> sockets_;
  std::vector<std::thread> threads_;
  std::string asked_;
  bool first_answered_ = false;
};

TEST_F(EngineCallTest, AnEngineThatKnowsItIsHeard) {
  answer("a", "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(call(), Answer::signalled);
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  EXPECT_EQ(asked_.substr(0, asked_.find('\r')),
            "POST /containers/ab/kill?signal=SIGKILL HTTP/1.1");
}

TEST_F(EngineCallTest, ADeadASilentAndAStrangeOneArePassedOver) {
  sockets_.push_back(folder_ + "/nobody");
  const os::Fd silent = listen("silent");
  answer("strange", "SSH-2.0\r\n");
  answer("right", "HTTP/1.1 409 Conflict\r\n\r\n");
  const Instant began = os::now();
  EXPECT_EQ(call(), Answer::not_running);
  EXPECT_FALSE(first_answered_);
  EXPECT_GE(os::now() - began, EngineCall::kAttempt);
  EXPECT_LT(os::now() - began, 3 * EngineCall::kAttempt);
}

TEST_F(EngineCallTest, UnknownIsTheWordOfAllThatAnswer) {
  answer("a", "HTTP/1.1 404 Not Found\r\n\r\n");
  answer("b", "HTTP/1.1 404 Not Found\r\n\r\n");
  EXPECT_EQ(call(), Answer::unknown);
  EXPECT_TRUE(first_answered_);
}

TEST_F(EngineCallTest, WithoutSocketsItEndsAtOnce) {
  EXPECT_EQ(call(), Answer::none);
}

TEST(HttpStatus, ReadsTheStatusLineAndNothingElse) {
  EXPECT_EQ(http_status("HTTP/1.1 204 No Content\r\n"), 204);
  EXPECT_EQ(http_status("HTTP/1.0 409\n"), 409);
  for (const char* line : {"", "HTTP/1.1 2", "HTTP/2 200 OK", "HTTP/1.1 20x OK", "HTTP/1.1 2000"})
    EXPECT_EQ(http_status(line), 0) << line;
}

}  // namespace
}  // namespace gpuward::anchor
