#include "domain/rights.h"

#include <linux/capability.h>

#include <gtest/gtest.h>

namespace gpuward {
namespace {

TEST(Capability, HasTheKernelsNumber) {
  EXPECT_EQ(parse_capability("chown"), CAP_CHOWN);
  EXPECT_EQ(parse_capability("net_bind_service"), CAP_NET_BIND_SERVICE);
  EXPECT_EQ(parse_capability("CAP_SYS_ADMIN"), CAP_SYS_ADMIN);
  EXPECT_EQ(parse_capability("ipc_lock"), CAP_IPC_LOCK);
  EXPECT_EQ(parse_capability("audit_read"), CAP_AUDIT_READ);
  EXPECT_EQ(parse_capability("checkpoint_restore"), CAP_CHECKPOINT_RESTORE);
}

TEST(Capability, OfNoSuchNameIsNone) {
  for (const char* name : {"", "cap_", "net_bind", "everything"})
    EXPECT_FALSE(parse_capability(name)) << name;
}

TEST(LimitKind, ComesBackByItsName) {
  for (int n = 0; n <= static_cast<int>(LimitKind::cpu); ++n) {
    const auto kind = static_cast<LimitKind>(n);
    EXPECT_FALSE(to_string(kind).empty()) << n;
    EXPECT_EQ(parse_limit_kind(to_string(kind)), kind) << n;
  }
  EXPECT_FALSE(parse_limit_kind("files"));
  EXPECT_TRUE(is_in_bytes(LimitKind::memlock));
  EXPECT_FALSE(is_in_bytes(LimitKind::nofile));
}

}  // namespace
}  // namespace gpuward
