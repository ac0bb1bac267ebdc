#include "anchor/log_pump.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <gtest/gtest.h>
#include <string>

namespace gpuward::anchor {
namespace {

using namespace std::chrono_literals;

class LogPumpTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gpuward-test-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
    auto dir = os::Fd::open(folder_, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(dir);
    dir_ = std::move(*dir);
  }
  void TearDown() override { (void)!std::system(("rm -rf '" + folder_ + "'").c_str()); }

  std::string log_path() const { return folder_ + "/log"; }
  std::string log() const { return *os::read_file(log_path(), 16 << 20); }
  LogPump open(const std::string& log_file) {
    auto pump = LogPump::open(dir_, log_file);
    EXPECT_TRUE(pump) << pump.error().message();
    return std::move(*pump);
  }

  std::string folder_;
  os::Fd dir_;
};

// A child that prints @p text as a service does: blocking writes into the end that it was given.
pid_t print_in_child(int end, const std::string& text) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t n = ::write(end, rest.data(), std::min<std::size_t>(rest.size(), 3000));
    if (n <= 0) ::_exit(1);
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  ::_exit(0);
}

// Pumps until @p child has ended; its exit code, -1 when five seconds were not enough.
int pump_until_end(LogPump& pump, pid_t child) {
  const auto until = std::chrono::steady_clock::now() + 5s;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > until) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return -1;
    }
    pollfd items[] = {{pump.out_fd(), POLLIN, 0}, {pump.err_fd(), POLLIN, 0}};
    if (::poll(items, 2, 10) > 0) pump.pump();
  }
  pump.drain();
  return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

std::string numbered_lines(std::size_t bytes) {
  std::string text;
  for (int n = 0; text.size() < bytes; ++n)
    text += "line " + std::to_string(n) + " of a talkative service\n";
  return text;
}

TEST_F(LogPumpTest, CarriesAMebibyteInOrderAndLosesNothing) {
  auto pump = open(log_path());
  const auto text = numbered_lines(1 << 20);
  EXPECT_EQ(pump_until_end(pump, print_in_child(pump.service_out(), text)), 0);
  EXPECT_TRUE(log() == text) << log().size() << " of " << text.size() << " bytes";
  EXPECT_EQ(pump.lost_bytes(), 0U);
}

TEST_F(LogPumpTest, CarriesBothStreams) {
  auto pump = open(log_path());
  EXPECT_EQ(pump_until_end(pump, print_in_child(pump.service_out(), "out\n")), 0);
  EXPECT_EQ(pump_until_end(pump, print_in_child(pump.service_err(), "err\n")), 0);
  pump.note("stopped");
  EXPECT_EQ(log(), "out\nerr\n[gpuward] stopped\n");
}

TEST_F(LogPumpTest, AFullDiskCostsCountedBytesNeverTheService) {
  auto pump = open("/dev/full");
  const auto text = numbered_lines(3 << 20);  // more than any FIFO holds
  EXPECT_EQ(pump_until_end(pump, print_in_child(pump.service_out(), text)), 0)
      << "the service was blocked";
  EXPECT_EQ(pump.lost_bytes(), text.size());
}

TEST_F(LogPumpTest, AKilledAnchorLosesNothing) {
  {
    auto pump = open(log_path());
    ASSERT_EQ(::write(pump.service_out(), "before\n", 7), 7);
    pump.pump();
    // The service's own descriptor keeps the FIFO and what is in it.
    const os::Fd service = os::Fd::take(::fcntl(pump.service_out(), F_DUPFD_CLOEXEC, 3));
    pump = LogPump();
    ASSERT_EQ(::write(service.get(), "between\n", 8), 8);
    auto second = open(log_path());
    ASSERT_EQ(::write(service.get(), "after\n", 6), 6);
    second.drain();
  }
  EXPECT_EQ(log(), "before\nbetween\nafter\n");
}

TEST_F(LogPumpTest, TheServicesEndBlocksAndOursDoesNot) {
  const auto pump = open(log_path());
  for (const int end : {pump.service_out(), pump.service_err()})
    EXPECT_EQ(::fcntl(end, F_GETFL) & O_NONBLOCK, 0);
  for (const int end : {pump.out_fd(), pump.err_fd()})
    EXPECT_NE(::fcntl(end, F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(LogPumpTest, PumpingNothingWritesNothing) {
  auto pump = open(log_path());
  pump.pump();
  pump.drain();
  EXPECT_EQ(log(), "");
}

TEST_F(LogPumpTest, AFileInPlaceOfTheFifoIsRefused) {
  ASSERT_TRUE(os::Fd::open_at(dir_, "out", O_CREAT | O_WRONLY, 0600));
  const auto pump = LogPump::open(dir_, log_path());
  ASSERT_FALSE(pump);
  EXPECT_EQ(pump.error().doing.view(), "use as a fifo 'out'");
}

}  // namespace
}  // namespace gpuward::anchor
