#include <gtest/gtest.h>
#include <memory>

#include "model/device_model.h"

namespace gpuward::gpusim {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

std::unique_ptr<DeviceValue> make_device() {
  auto device = std::make_unique<DeviceValue>();
  *device = {};
  device->now = 1000 * kMs;
  device->slice_ns = 2 * kMs;
  device->rate_permille = 1000;
  device->total_bytes = std::uint64_t{1} << 30;
  device->bin_ns = 100 * kMs;
  device->last_bin = device->now / device->bin_ns;
  return device;
}

ContextValue& add_work(DeviceValue& device, std::uint32_t slot, std::uint64_t ns) {
  ContextValue* context = add_context(device, slot, 1, 1);
  context->submitted_ns = ns;
  return *context;
}

TEST(DeviceModel, WorkTakesExactlyItsTime) {
  auto device = make_device();
  const ContextValue& context = add_work(*device, 0, 340 * kMs);
  advance(*device, device->now + 340 * kMs - 1);
  EXPECT_EQ(context.executed_ns, 340 * kMs - 1);
  advance(*device, device->now + 1);
  EXPECT_EQ(context.executed_ns, 340 * kMs);
  EXPECT_EQ(device->busy_ns, 340 * kMs);
}

TEST(DeviceModel, LookingOftenOrSeldomComesToTheSame) {
  auto seldom = make_device();
  auto often = make_device();
  for (DeviceValue* device : {seldom.get(), often.get()}) {
    for (std::uint32_t slot = 0; slot < 5; ++slot) add_work(*device, slot, (300 + slot) * kMs);
  }
  advance(*seldom, seldom->now + 1234 * kMs);
  for (int i = 0; i < 12340; ++i) advance(*often, often->now + kMs / 10);
  for (std::uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(seldom->contexts[i].executed_ns, often->contexts[i].executed_ns) << i;
  }
  EXPECT_EQ(seldom->busy_ns, 1234 * kMs);
  EXPECT_EQ(often->busy_ns, 1234 * kMs);
}

TEST(DeviceModel, TurnsEndWithinOneRoundOfEachOther) {
  auto device = make_device();
  const std::uint64_t start = device->now;
  for (std::uint32_t slot = 0; slot < 4; ++slot) add_work(*device, slot, 340 * kMs);
  for (std::uint32_t i = 0; i < 4; ++i) {
    auto ahead = std::make_unique<DeviceValue>(*device);
    const std::uint64_t end = run_until(*ahead, {i, 340 * kMs}, start + 2000 * kMs);
    EXPECT_GE(end - start, (1360 - 6) * kMs);
    EXPECT_LE(end - start, 1360 * kMs);
  }
}

TEST(DeviceModel, UnderMpsSmallDemandsOverlapAndLargeOnesShare) {
  for (const std::uint32_t demand : {250U, 1000U}) {
    auto device = make_device();
    device->sharing = kMps;
    const std::uint64_t start = device->now;
    for (std::uint32_t slot = 0; slot < 4; ++slot) {
      add_work(*device, slot, 340 * kMs).demand_permille = demand;
    }
    const std::uint64_t end = run_until(*device, {3, 340 * kMs}, start + 2000 * kMs);
    const std::uint64_t expected = demand == 250 ? 340 * kMs : 1360 * kMs;
    EXPECT_NEAR(static_cast<double>(end - start), static_cast<double>(expected), 1000.0);
  }
}

TEST(DeviceModel, AThrottledCardTakesLonger) {
  auto device = make_device();
  device->rate_permille = 500;
  const std::uint64_t start = device->now;
  add_work(*device, 0, 100 * kMs);
  EXPECT_EQ(run_until(*device, {0, 100 * kMs}, start + 1000 * kMs) - start, 200 * kMs);
}

TEST(DeviceModel, MemoryOfAnEndedOwnerComesBackAfterTheDelay) {
  auto device = make_device();
  device->return_delay_ns = 200 * kMs;
  add_work(*device, 7, 500 * kMs).memory_bytes = 4096;
  end_owner(*device, 0, false);
  advance(*device, device->now + 199 * kMs);
  EXPECT_EQ(used_bytes(*device), 4096U);
  EXPECT_EQ(device->busy_ns, 0U) << "its work ended with it";
  advance(*device, device->now + kMs);
  EXPECT_EQ(used_bytes(*device), 0U);
  EXPECT_EQ(device->context_count, 0U);
}

TEST(DeviceModel, UtilisationFollowsFromWhatRan) {
  auto device = make_device();
  ContextValue& context = add_work(*device, 0, 0);
  for (int period = 0; period < 10; ++period) {
    context.submitted_ns += 40 * kMs;
    advance(*device, device->now + 100 * kMs);
  }
  EXPECT_EQ(busy_percent(*device), 40U);
  EXPECT_EQ(busy_percent(*device, context, 6), 40U);
  advance(*device, device->now + 1000 * kMs);
  EXPECT_EQ(busy_percent(*device), 0U);
}

}  // namespace
}  // namespace gpuward::gpusim
