#include "gpu/self_test.h"

#include <chrono>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace gpuward::gpu {
namespace {

// The functions of a driver that a test makes up. They are plain functions, as the library's are.
struct Driver {
  abi::Code metrics_code = abi::kSuccess;
  bool writes_beyond = false;
  std::uint32_t mig = 0;
  abi::Code empty_place = abi::kNotFound;
  abi::Code wait_code = abi::kTimeout;
  std::chrono::milliseconds wait{0};
  int sets_left = 0;
  bool other_rows = false;
};
Driver driver;

abi::Code supported(abi::Device, abi::GpmSupport* answer) {
  answer->supported = 1;
  return abi::kSuccess;
}
abi::Code alloc(abi::GpmSample* sample) {
  static int one;
  *sample = reinterpret_cast<abi::GpmSample>(&one);
  return abi::kSuccess;
}
abi::Code sample_now(abi::Device, abi::GpmSample) {
  return abi::kSuccess;
}
abi::Code metrics_of(abi::GpmMetrics* list) {
  const auto end = list->count + (driver.writes_beyond ? 1 : 0);
  for (std::uint32_t n = 0; n < end; ++n) list->metrics[n].value = 1.5;
  return driver.metrics_code;
}
abi::Code mig_mode(abi::Device, std::uint32_t* now, std::uint32_t* pending) {
  *now = *pending = driver.mig;
  return abi::kSuccess;
}
abi::Code mig_most(abi::Device, std::uint32_t* most) {
  *most = 7;
  return abi::kSuccess;
}
abi::Code mig_handle(abi::Device, std::uint32_t index, abi::Device*) {
  return index < 2 ? abi::kSuccess : driver.empty_place;
}
abi::Code event_types(abi::Device, std::uint64_t* types) {
  *types = abi::kEventXid;
  return abi::kSuccess;
}
abi::Code event_set(abi::EventSet* set) {
  static int one;
  *set = reinterpret_cast<abi::EventSet>(&one);
  ++driver.sets_left;
  return abi::kSuccess;
}
abi::Code event_set_free(abi::EventSet) {
  --driver.sets_left;
  return abi::kSuccess;
}
abi::Code register_events(abi::Device, std::uint64_t, abi::EventSet) {
  return abi::kSuccess;
}
abi::Code event_wait(abi::EventSet, abi::EventData*, std::uint32_t) {
  std::this_thread::sleep_for(driver.wait);
  return driver.wait_code;
}
abi::Code detail_list(abi::Device, abi::ProcessDetailList* list) {
  list->entries = 2;
  for (std::uint32_t n = 0; n < 2; ++n)
    list->rows[n] = {100 + n, 4096, abi::kNoInstance, abi::kNoInstance, 0};
  return abi::kSuccess;
}
abi::Code plain_list(abi::Device, std::uint32_t* count, void* rows) {
  *count = 2;
  for (std::uint32_t n = 0; n < 2; ++n) {
    const abi::ProcessDetail row{100 + n + (driver.other_rows ? 5 : 0), 4096, abi::kNoInstance,
                                 abi::kNoInstance, 0};
    std::memcpy(static_cast<std::byte*>(rows) + std::size_t{24} * n, &row, 24);
  }
  return abi::kSuccess;
}

class SelfTests : public testing::Test {
 protected:
  void SetUp() override {
    driver = {};
    library_.gpm_support.address = supported;
    library_.gpm_alloc.address = alloc;
    library_.gpm_sample.address = sample_now;
    library_.gpm_metrics.address = metrics_of;
    library_.mig_mode.address = mig_mode;
    library_.mig_most.address = mig_most;
    library_.mig_handle.address = mig_handle;
    library_.event_types.address = event_types;
    library_.event_set.address = event_set;
    library_.event_set_free.address = event_set_free;
    library_.register_events.address = register_events;
    library_.event_wait.address = event_wait;
    library_.detail_list.address = detail_list;
    library_.lists[abi::kCompute].v3.address = plain_list;
  }
  /// "ok" of the line "ok stride GPU 0: ...".
  std::string outcome(std::string_view test) {
    std::string found;
    CallMark mark;
    self_test_card(library_, mark, 0, nullptr, [&](std::string_view line) {
      const auto space = line.find(' ');
      const bool this_one = line.substr(space + 1).starts_with(std::string(test) + " GPU 0: ");
      if (this_one) found = line.substr(0, space);
    });
    return found;
  }
  Library library_;
};

TEST_F(SelfTests, ASoundDriverIsProvenSound) {
  driver.mig = 1;
  for (const char* test : {"stride", "mig", "gpm", "events"})
    EXPECT_EQ(outcome(test), "ok") << test;
  EXPECT_EQ(driver.sets_left, 0);
}

TEST_F(SelfTests, WhatADriverDoesNotHaveIsUnseen) {
  library_ = {};
  for (const char* test : {"stride", "mig", "gpm", "events"})
    EXPECT_EQ(outcome(test), "unseen") << test;
}

TEST_F(SelfTests, RowsThatAreOthersByTheOtherListDiffer) {
  driver.other_rows = true;
  EXPECT_EQ(outcome("stride"), "differs");
}

TEST_F(SelfTests, AShortListOfMetricsThatIsNotHeldToDiffers) {
  driver.writes_beyond = true;
  EXPECT_EQ(outcome("gpm"), "differs");
  driver = {};
  driver.metrics_code = abi::kInvalidArgument;
  EXPECT_EQ(outcome("gpm"), "differs");
}

TEST_F(SelfTests, AnEmptyPlaceOfMigThatIsToldOtherwiseDiffers) {
  EXPECT_EQ(outcome("mig"), "unseen") << "MIG is off";
  driver.mig = 1;
  driver.empty_place = abi::kUnknown;
  EXPECT_EQ(outcome("mig"), "differs");
}

TEST_F(SelfTests, AWaitForEventsThatDoesNotEndInTimeDiffers) {
  driver.wait_code = abi::kUnknown;
  EXPECT_EQ(outcome("events"), "differs");
  driver = {};
  driver.wait = std::chrono::milliseconds(1100);
  EXPECT_EQ(outcome("events"), "differs");
  EXPECT_EQ(driver.sets_left, 0);
}

}  // namespace
}  // namespace gpuward::gpu
