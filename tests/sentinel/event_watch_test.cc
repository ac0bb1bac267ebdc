#include "sentinel/event_watch.h"

#include <dlfcn.h>
#include <poll.h>

#include <cstdlib>
#include <gtest/gtest.h>

#include "os/clock.h"

namespace gpuward::sentinel {
namespace {

int inits_of_fake() {
  static void* library = ::dlopen(FAKE_NVML, RTLD_NOW);
  return reinterpret_cast<int (*)()>(::dlsym(library, "fake_inits"))();
}

TEST(EventWatch, AWaitThatFailsIsNotTriedAgainAtOnce) {
  ::setenv("FAKE_EVENTS", "1", 1);
  ::setenv("FAKE_WAIT", "15", 1);  // the card is lost
  const int before = inits_of_fake();
  const auto watch = EventWatch::start(gpu::NvmlOptions(FAKE_NVML));
  ASSERT_TRUE(watch);
  const Instant deadline = os::now() + std::chrono::milliseconds(300);
  while (inits_of_fake() < before + 3 && os::now() < deadline) {
    pollfd events{(*watch)->ready_fd(), POLLIN, 0};
    ::poll(&events, 1, 10);
  }
  EXPECT_EQ(inits_of_fake(), before + 1);
}

}  // namespace
}  // namespace gpuward::sentinel
