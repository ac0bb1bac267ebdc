#include "os/device_holders.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <thread>

#include "os/clock.h"
#include "os/fd.h"

namespace gpuward::os {
namespace {

using namespace std::chrono_literals;

/// A folder with files that stand for the driver's device files.
class DeviceHoldersTest : public testing::Test {
 protected:
  DeviceHoldersTest() {
    char name[] = "/tmp/gpuward-devices-XXXXXX";
    folder_ = ::mkdtemp(name);
    for (const char* device : {"/nvidia0", "/nvidiactl", "/other"}) {
      const auto made = Fd::open(folder_ + device, O_RDWR | O_CREAT, 0600);
      EXPECT_TRUE(made);
      EXPECT_EQ(::ftruncate(made ? made->get() : -1, 4096), 0);
    }
  }
  ~DeviceHoldersTest() override {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  /// A child that does @p act, tells that it has, and waits to be killed.
  template <class Act>
  Pid child(const Act& act) {
    auto pipe = make_pipe();
    const pid_t pid = ::fork();
    if (pid == 0) {
      act();
      [[maybe_unused]] const auto told = ::write(pipe->write.get(), "x", 1);
      for (;;) ::pause();
    }
    children_.push_back(pid);
    char byte = 0;
    EXPECT_EQ(::read(pipe->read.get(), &byte, 1), 1);
    return Pid{pid};
  }
  Pid opens(const char* device) {
    const std::string path = folder_ + device;
    return child([path] { ::open(path.c_str(), O_RDWR); });
  }
  std::string prefix() const { return folder_ + "/nvidia"; }

  std::string folder_;
  std::vector<pid_t> children_;
};

const DeviceUse* use_of(const std::vector<DeviceUse>& uses, Pid pid) {
  const auto at =
      std::ranges::find_if(uses, [&](const DeviceUse& use) { return use.process.pid == pid; });
  return at == uses.end() ? nullptr : &*at;
}

TEST_F(DeviceHoldersTest, FindsAnOpenDescriptorAndNoOther) {
  const Pid holder = opens("/nvidia0");
  const Pid bystander = opens("/other");
  DeviceHolders holders(prefix());
  const auto uses = holders.look(kNever);
  const auto* use = use_of(uses, holder);
  ASSERT_NE(use, nullptr);
  EXPECT_EQ(use->device.view(), folder_ + "/nvidia0");
  EXPECT_FALSE(use->mapped);
  EXPECT_FALSE(use->leader_is_zombie);
  EXPECT_EQ(use->thread, holder);
  EXPECT_NE(use->process.start_ticks, 0U);
  EXPECT_EQ(use_of(uses, bystander), nullptr);
  EXPECT_TRUE(holders.done());
}

TEST_F(DeviceHoldersTest, FindsAMappingWhoseDescriptorWasClosed) {
  const std::string path = folder_ + "/nvidia0";
  const Pid holder = child([path] {
    const int fd = ::open(path.c_str(), O_RDWR);
    (void)::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
  });
  DeviceHolders holders(prefix());
  const auto uses = holders.of(std::vector{holder});
  ASSERT_EQ(uses.size(), 1U);
  EXPECT_TRUE(uses[0].mapped);
  EXPECT_EQ(uses[0].device.view(), path);
}

TEST_F(DeviceHoldersTest, LooksThroughTheThreadsOfAZombieLeader) {
  const std::string path = folder_ + "/nvidia0";
  auto pipe = make_pipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::thread([&] {
      ::open(path.c_str(), O_RDWR);
      [[maybe_unused]] const auto told = ::write(pipe->write.get(), "x", 1);
      for (;;) ::pause();
    }).detach();
    ::syscall(SYS_exit, 0);  // the leader alone
  }
  children_.push_back(pid);
  char byte = 0;
  ASSERT_EQ(::read(pipe->read.get(), &byte, 1), 1);
  DeviceHolders holders(prefix());
  std::vector<DeviceUse> uses;
  const Instant deadline = now() + 10s;
  // The leader is a zombie a moment after its thread has spoken.
  while ((uses.empty() || !uses[0].leader_is_zombie) && now() < deadline)
    uses = holders.of(std::vector{Pid{pid}});
  ASSERT_EQ(uses.size(), 1U);
  EXPECT_TRUE(uses[0].leader_is_zombie);
  EXPECT_NE(uses[0].thread, Pid{pid});
  EXPECT_EQ(uses[0].state, 'S');
}

TEST_F(DeviceHoldersTest, RemembersWhoHadNoneUntilToldToForget) {
  const Pid late = opens("/other");
  DeviceHolders holders(prefix());
  EXPECT_EQ(use_of(holders.look(kNever), late), nullptr);
  const Pid fresh = opens("/nvidiactl");
  const auto uses = holders.look(kNever);
  EXPECT_NE(use_of(uses, fresh), nullptr) << "whoever is new is looked at";
  EXPECT_NE(use_of(holders.look(kNever), fresh), nullptr) << "and whoever had one";
  holders.forget();
  EXPECT_NE(use_of(holders.look(kNever), fresh), nullptr);
}

TEST_F(DeviceHoldersTest, GoesOnWhereItsTimeWasUp) {
  const Pid holder = opens("/nvidia0");
  DeviceHolders holders(prefix());
  bool found = false;
  int looks = 0;
  do {
    found |= use_of(holders.look(now()), holder) != nullptr;  // one process at a time
    ++looks;
  } while (!holders.done() && looks < 100'000);
  EXPECT_TRUE(found);
  EXPECT_GT(looks, 1);
}

TEST(MappedDevice, IsThePathOfALineOfMaps) {
  EXPECT_EQ(mapped_device("7f00-7f01 rw-s 0000 00:06 512      /dev/nvidia0", "/dev/nvidia"),
            "/dev/nvidia0");
  EXPECT_EQ(
      mapped_device("7f00-7f01 rw-s 0000 00:06 512      /usr/lib/libnvidia-ml.so", "/dev/nvidia"),
      "");
  EXPECT_EQ(mapped_device("7f00-7f01 rw-p 0000 00:00 0 ", "/dev/nvidia"), "");
  EXPECT_EQ(mapped_device("/dev/nvidia0", ""), "");
  EXPECT_EQ(mapped_device("", "/dev/nvidia"), "");
}

}  // namespace
}  // namespace gpuward::os
