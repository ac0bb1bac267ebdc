#include "os/kernel.h"

#include <sys/utsname.h>

#include <cstdio>
#include <gtest/gtest.h>

namespace gpuward::os {
namespace {

TEST(Kernel, EachMaskHidesItsOwnMechanism) {
  const Kernel real = probe_kernel("");
  const struct {
    const char* mask;
    bool Kernel::* feature;
  } table[] = {
      {"no_pidfd", &Kernel::pidfd},
      {"no_clone_into_cgroup", &Kernel::clone_into_cgroup},
      {"no_proc_children", &Kernel::proc_children},
      {"no_cgroup", &Kernel::cgroup},
      {"no_cgroup1", &Kernel::cgroup1},
      {"no_cgroup2", &Kernel::cgroup2},
      {"no_cgroup_kill", &Kernel::cgroup_kill},
      {"no_cgroup_freeze", &Kernel::cgroup_freeze},
  };
  for (const auto& row : table) {
    std::string unknown;
    const Kernel masked = probe_kernel(row.mask, &unknown);
    EXPECT_EQ(unknown, "") << row.mask;
    for (const auto& other : table)
      EXPECT_EQ(masked.*other.feature, &other == &row ? false : real.*other.feature)
          << row.mask << " on " << other.mask;
  }
}

TEST(Kernel, MasksAddUpAndEmptyOnesMeanNothing) {
  const Kernel masked = probe_kernel(",no_pidfd,,no_cgroup,");
  EXPECT_FALSE(masked.pidfd);
  EXPECT_FALSE(masked.cgroup);
  EXPECT_TRUE(masked.cgroup_kill);
}

TEST(Kernel, UnknownMaskNamesAreGivenBack) {
  std::string unknown;
  const Kernel masked = probe_kernel("no_pidfds,no_cgroup_kill,no pidfd, no_cgroup", &unknown);
  EXPECT_EQ(unknown, "no_pidfds,no pidfd, no_cgroup");
  EXPECT_FALSE(masked.cgroup_kill);
  EXPECT_TRUE(masked.cgroup);
  probe_kernel("nonsense");  // nobody asked for the names
}

// A kernel says by its number what it should have; one that has it was really asked.
TEST(Kernel, TheExitOfAReapedChildIsToldFromLinux6_15On) {
  utsname name{};
  ASSERT_EQ(::uname(&name), 0);
  int major = 0;
  int minor = 0;
  ASSERT_EQ(std::sscanf(name.release, "%d.%d", &major, &minor), 2);
  if (major < 6 || (major == 6 && minor < 15)) {
    EXPECT_FALSE(try_exit_info()) << name.release;
  } else if (probe_kernel("").pidfd) {
    EXPECT_TRUE(try_exit_info()) << name.release;
  }
}

}  // namespace
}  // namespace gpuward::os
