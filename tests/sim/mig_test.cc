#include <unistd.h>

#include <gtest/gtest.h>

#include "world.h"

namespace gpuward::gpusim::test {
namespace {

/// A card of two instances of 4 GiB, and a reader of it.
class Mig : public ::testing::Test {
 protected:
  std::string ask(const std::string& line) {
    reader_->tell(line);
    return reader_->line();
  }
  /// The UUID of instance @p n.
  std::string uuid_of(const std::string& n) {
    EXPECT_EQ(ask("mig " + n), "0");
    const std::string uuid = ask("text nvmlDeviceGetUUID").substr(2);
    EXPECT_EQ(ask("card"), "0");
    return uuid;
  }
  /// A holder in the instance of that UUID.
  std::unique_ptr<Child> holder(const std::string& uuid, const std::string& bytes) {
    ::setenv("CUDA_VISIBLE_DEVICES", uuid.c_str(), 1);
    auto client = world_.client({"hold", bytes});
    ::unsetenv("CUDA_VISIBLE_DEVICES");
    EXPECT_EQ(client->line(), "ready");
    return client;
  }
  void SetUp() override {
    reader_ = world_.reader({"watch"});
    ASSERT_EQ(ask("init"), "init 0 handle 0");
  }

  World world_{{"--mig", "2", "--memory", "8GiB", "--reserved", "0B", "--context-memory", "0B"}};
  std::unique_ptr<Child> reader_;
};

TEST_F(Mig, InstancesHaveHandlesNamesAndNumbers) {
  EXPECT_EQ(ask("get nvmlDeviceGetMigMode"), "0 1");
  EXPECT_EQ(ask("get nvmlDeviceGetMaxMigDeviceCount"), "0 7");
  EXPECT_EQ(ask("get nvmlDeviceIsMigDeviceHandle"), "0 0");
  EXPECT_EQ(ask("mig 2"), "6") << "an empty place";
  EXPECT_EQ(ask("mig 7"), "2");
  EXPECT_EQ(uuid_of("0").substr(0, 4), "MIG-");
  EXPECT_NE(uuid_of("0"), uuid_of("1"));
  ASSERT_EQ(ask("mig 1"), "0");
  EXPECT_EQ(ask("get nvmlDeviceIsMigDeviceHandle"), "0 1");
  EXPECT_EQ(ask("get nvmlDeviceGetGpuInstanceId"), "0 2");
  EXPECT_EQ(ask("get nvmlDeviceGetComputeInstanceId"), "0 0");
  EXPECT_EQ(ask("text nvmlDeviceGetName"), "0 Simulated H200 MIG 3g.4gb");
  EXPECT_EQ(ask("get nvmlDeviceGetMemoryInfo"), "0 4294967296");
}

TEST_F(Mig, ProcessesLiveInTheirInstanceAndRowsSayWhich) {
  auto first = holder(uuid_of("0"), "1048576");
  auto second = holder(uuid_of("1"), "2097152");
  const std::string one = std::to_string(first->pid());
  const std::string two = std::to_string(second->pid());
  EXPECT_EQ(ask("instances"), "0: " + one + " 1 0, " + two + " 2 0,");
  ASSERT_EQ(ask("mig 1"), "0");
  EXPECT_EQ(ask("instances"), "0: " + two + " 2 0,");
  first->tell("alloc 4293918721");
  EXPECT_EQ(number_after(first->line(), "code"), 2U) << "beyond its own instance";
  first->tell("alloc 4293918720");
  EXPECT_EQ(number_after(first->line(), "code"), 0U);
  second->tell("alloc 1048576");
  EXPECT_EQ(number_after(second->line(), "code"), 0U) << "the other one is not concerned";
}

TEST_F(Mig, UtilisationIsNotSupported) {
  for (const char* call : {"get nvmlDeviceGetUtilizationRates", "get nvmlDeviceGetSamples 1 0"}) {
    EXPECT_EQ(ask(call).substr(0, 2), "3 ") << call;
  }
  ASSERT_EQ(ask("mig 0"), "0");
  EXPECT_EQ(ask("get nvmlDeviceGetUtilizationRates"), "3 0");
  EXPECT_EQ(ask("get nvmlDeviceGetTemperature 0"), "3 0");
  EXPECT_EQ(ask("fields 230"), "0: 230=3/0,");
}

TEST_F(Mig, TheCardsOwnListIsForThePrivileged) {
  auto client = holder(uuid_of("0"), "1048576");
  const std::string row = "0: " + std::to_string(client->pid()) + " 1 0,";
  if (::geteuid() == 0) {
    EXPECT_EQ(ask("instances"), row);
  }
  ASSERT_EQ(world_.gpusim({"fault", "no-rights"}), 0);
  EXPECT_EQ(ask("instances"), "4:");
  ASSERT_EQ(ask("mig 0"), "0");
  EXPECT_EQ(ask("instances"), row) << "an instance's list is for everyone";
}

TEST_F(Mig, ForeignRowsCanBeOfAnInstance) {
  ASSERT_EQ(world_.gpusim({"fault", "foreign-row", "--pid", "4000000", "--instance", "1"}), 0);
  ASSERT_EQ(ask("mig 0"), "0");
  EXPECT_EQ(ask("instances"), "0:");
  ASSERT_EQ(ask("mig 1"), "0");
  EXPECT_EQ(ask("instances"), "0: 4000000 2 0,");
}

TEST_F(Mig, InstancesWorkAtTheSameTime) {
  auto first = holder(uuid_of("0"), "0");
  auto second = holder(uuid_of("1"), "0");
  const auto begin = std::chrono::steady_clock::now();
  for (auto* client : {first.get(), second.get()}) {
    client->tell("launch 300000000");
    ASSERT_EQ(number_after(client->line(), "code"), 0U);
  }
  for (auto* client : {first.get(), second.get()}) {
    client->tell("sync");
    ASSERT_EQ(number_after(client->line(), "code"), 0U);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(550)) << "not one after another";
}

}  // namespace
}  // namespace gpuward::gpusim::test
