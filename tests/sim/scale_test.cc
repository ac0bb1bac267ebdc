#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <vector>

#include "model/session.h"
#include "world.h"

namespace gpuward::gpusim::test {
namespace {

using Clock = std::chrono::steady_clock;

long ms_since(Clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(Clock::now() - begin).count();
}

/// Processes with one context each, spread over the cards. They end when this object does.
class Crowd {
 public:
  Crowd(const std::string& state, unsigned count, unsigned gpus) : stay_(os::make_pipe().value()) {
    auto ready = os::make_pipe().value();
    for (unsigned i = 0; i < count; ++i) {
      const pid_t child = ::fork();
      if (child == 0) be_one(state, i % gpus, ready.write);
      if (child > 0) members_.push_back(child);
    }
    ready.write.close();
    stay_.read.close();
    char done = 0;
    while (::read(ready.read.get(), &done, 1) == 1) ready_ += done == 1 ? 1 : 0;
  }
  ~Crowd() {
    stay_.write.close();
    for (const pid_t member : members_) ::waitpid(member, nullptr, 0);
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;
  unsigned ready() const { return ready_; }

 private:
  [[noreturn]] void be_one(const std::string& state, unsigned gpu, os::Fd& ready) {
    static Session session;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    stay_.write.close();
    bool held = session.open(state) == Open::kOk && session.attach() == Open::kOk;
    held = held && session.change(gpu, [&](DeviceValue& device) {
      ContextValue* own = add_context(device, session.slot(), session.generation(), 1);
      if (own != nullptr) own->memory_bytes = 1 << 20;
      return own != nullptr;
    });
    const char done = held ? 1 : 0;
    if (::write(ready.get(), &done, 1) != 1) ::_exit(1);
    ready.close();
    char nothing = 0;
    while (::read(stay_.read.get(), &nothing, 1) > 0) {
    }
    ::_exit(0);
  }

  os::Pipe stay_;
  std::vector<pid_t> members_;
  unsigned ready_ = 0;
};

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(Scale, SixtyFourCardsAndTwoThousandProcesses) {
  constexpr unsigned kGpus = 64;
  constexpr unsigned kProcesses = 2000;
  auto begin = Clock::now();
  World world({"--gpus", "64", "--memory", "8GiB", "--context-memory", "0B"});
  const long create_ms = ms_since(begin);
  begin = Clock::now();
  const Crowd crowd(world.state(), kProcesses, kGpus);
  ASSERT_EQ(crowd.ready(), kProcesses);
  const long attach_ms = ms_since(begin);
  begin = Clock::now();
  EXPECT_EQ(count_of(world.show(), "\"slot\": "), kProcesses);
  const long show_ms = ms_since(begin);

  auto reader = world.reader({"watch"});
  reader->tell("init");
  ASSERT_EQ(reader->line(), "init 0 handle 0");
  reader->tell("everything");
  const std::string seen = reader->line();
  EXPECT_EQ(number_after(seen, "cards"), kGpus) << seen;
  EXPECT_EQ(number_after(seen, "rows"), kProcesses) << seen;
  EXPECT_EQ(number_after(seen, "bytes"), std::uint64_t{kProcesses} << 20) << seen;
  std::printf(
      "create %ld ms, attach all %ld ms, show %ld ms, NVML lists %llu us, NVML memory "
      "%llu us\n",
      create_ms, attach_ms, show_ms,
      static_cast<unsigned long long>(number_after(seen, "lists_us")),
      static_cast<unsigned long long>(number_after(seen, "memory_us")));
  EXPECT_LT(show_ms, 2000);
}

}  // namespace
}  // namespace gpuward::gpusim::test
