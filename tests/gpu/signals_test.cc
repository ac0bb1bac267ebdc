#include "gpu/signals.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <gtest/gtest.h>

#include "gpu/busy.h"
#include "gpu/events.h"
#include "gpu/fields.h"
#include "gpu/nvml.h"
#include "os/clock.h"

namespace gpuward::gpu {
namespace {

/// A count that the fake library keeps.
int of_fake(const char* name) {
  static void* library = ::dlopen(FAKE_NVML, RTLD_NOW);
  return reinterpret_cast<int (*)()>(::dlsym(library, name))();
}

/// Looks through the fake library. The variables are the fake's switches.
class FakeDriver : public testing::Test {
 protected:
  FakeDriver() {
    for (const char* name : {"FAKE_INIT", "FAKE_MEMORY", "FAKE_PID", "FAKE_CARDS", "FAKE_EVENTS",
                             "FAKE_SPOILER", "FAKE_WAIT"})
      ::unsetenv(name);
  }
  static GpuDevice first_card(Nvml& nvml, bool everything = false) {
    const auto snapshot = nvml.look(everything);
    EXPECT_EQ(snapshot.sight, GpuSight::visible) << snapshot.detail;
    return snapshot.devices.empty() ? GpuDevice() : snapshot.devices.front();
  }
};

TEST_F(FakeDriver, FieldsHaveAnAnswerEach) {
  Nvml nvml{NvmlOptions(FAKE_NVML)};
  const GpuDevice card = first_card(nvml);
  EXPECT_EQ(card.climate.held_down.power_ns.maybe(), 1074U);
  EXPECT_EQ(card.climate.held_down.software_thermal_ns.maybe(), 1269U);
  EXPECT_EQ(card.climate.held_down.power_brake_ns.answer, Answer::not_supported);
  EXPECT_EQ(card.climate.memory_temperature_celsius.maybe(), 0U) << "below zero is not told";
  EXPECT_EQ(card.errors.pcie_corrected.maybe(), 1173U);
  EXPECT_EQ(card.errors.pcie_fatal.answer, Answer::no_permission);
  EXPECT_EQ(card.errors.advice.maybe(), GpuAdvice::reboot);
  EXPECT_EQ(card.errors.pages_retired.maybe(), 1029U + 1030U);
  EXPECT_EQ(card.errors.remap_failed.maybe(), true) << "from the field where the call is missing";
  EXPECT_EQ(card.link.tx_bytes.maybe(), 1197U);
  EXPECT_EQ(card.climate.temperature_celsius.answer, Answer::not_supported) << "no such function";
  EXPECT_GT(card.errors.advice.read_ns, 0);
}

TEST_F(FakeDriver, ActivityIsTheDifferenceOfTwoSamples) {
  Nvml nvml{NvmlOptions(FAKE_NVML)};
  EXPECT_EQ(first_card(nvml).activity.sm_percent.answer, Answer::not_yet);
  GpuDevice card = first_card(nvml);
  EXPECT_EQ(card.activity.sm_percent.answer, Answer::not_yet) << "too early for a second sample";
  const Instant deadline = os::now() + std::chrono::seconds(10);
  while (!card.activity.sm_percent && os::now() < deadline) card = first_card(nvml, true);
  EXPECT_EQ(card.activity.engine_percent.maybe(), 1.5);
  EXPECT_EQ(card.activity.sm_percent.maybe(), 2.5);
  EXPECT_EQ(card.activity.dram_percent.maybe(), 10.5);
  EXPECT_EQ(card.activity.tensor_percent.answer, Answer::not_supported);
  EXPECT_EQ(card.activity.switch_active_percent.maybe(), 174.5);
}

TEST_F(FakeDriver, MigInstancesAreFoundBehindEmptySlots) {
  Nvml nvml{NvmlOptions(FAKE_NVML)};
  const GpuDevice card = first_card(nvml);
  EXPECT_EQ(card.place.mig.maybe(), true);
  EXPECT_EQ(card.busy_percent.answer, Answer::not_supported);
  ASSERT_EQ(card.instances.size(), 1U);
  EXPECT_EQ(card.instances[0].uuid, "MIG-2");
  EXPECT_EQ(card.instances[0].gpu_instance, 3U);
  EXPECT_EQ(card.instances[0].memory_total, 10_GiB);
  EXPECT_EQ(card.instances[0].multiprocessors, 16U);
}

TEST_F(FakeDriver, ARowWithoutRightsSaysThatItCannotBeSeen) {
  ::setenv("FAKE_PID", std::to_string(::getpid()).c_str(), 1);
  Nvml nvml{NvmlOptions(FAKE_NVML)};
  const GpuDevice card = first_card(nvml);
  ASSERT_EQ(card.processes.size(), 1U);
  const GpuProcess& row = card.processes[0];
  EXPECT_EQ(row.memory.answer, Answer::cannot_see);
  EXPECT_EQ(row.gpu_instance, 3U);
  EXPECT_EQ(row.compute_instance, 4U);
  EXPECT_EQ(row.sm_percent.maybe(), 30U);
  EXPECT_EQ(row.memory_percent.maybe(), 40U);
  // This program may have been started so shortly before the list that only a later look can tell.
  const Instant give_up = os::now() + std::chrono::seconds(5);
  Pairing pairing = row.pairing;
  while (pairing == Pairing::young && os::now() < give_up)
    pairing = first_card(nvml).processes.at(0).pairing;
  EXPECT_TRUE(pairing == Pairing::paired || pairing == Pairing::foreign);
}

TEST_F(FakeDriver, AccountingTellsOfWhoHasLeftTheList) {
  ::setenv("FAKE_PID", "4242", 1);
  Nvml nvml{NvmlOptions(FAKE_NVML)};
  EXPECT_TRUE(first_card(nvml).ended.empty());
  ::unsetenv("FAKE_PID");
  const GpuDevice card = first_card(nvml);
  ASSERT_EQ(card.ended.size(), 1U);
  EXPECT_EQ(card.ended[0].pid, 4242U);
  EXPECT_EQ(card.ended[0].gpu_percent, 41U);
  EXPECT_EQ(card.ended[0].memory_peak, 7_GiB);
  EXPECT_EQ(card.ended[0].lived_ms, 90'000U);
  EXPECT_EQ(first_card(nvml).ended.size(), 1U) << "once";
}

TEST_F(FakeDriver, ACardThatCannotBeReadKeepsItsNumbersAndSaysWhy) {
  Nvml nvml{NvmlOptions(FAKE_NVML)};
  const GpuDevice before = first_card(nvml);
  ::setenv("FAKE_MEMORY", "15", 1);
  const GpuDevice lost = first_card(nvml);
  EXPECT_EQ(lost.state, GpuState::lost);
  EXPECT_EQ(lost.detail, "nvmlDeviceGetMemoryInfo_v2: code 15, said by the fake");
  EXPECT_EQ(lost.memory_used, before.memory_used);
  EXPECT_EQ(lost.read_ns, before.read_ns);
  EXPECT_FALSE(lost.processes_visible);
  ::unsetenv("FAKE_MEMORY");
  const GpuDevice back = first_card(nvml);
  EXPECT_EQ(back.state, GpuState::ok);
  EXPECT_EQ(back.detail, "");
  EXPECT_GT(back.read_ns, before.read_ns);
}

TEST_F(FakeDriver, EventsThatTheDriverDoesNotOfferAreNone) {
  EventSource source{NvmlOptions(FAKE_NVML)};
  EXPECT_FALSE(source.open());
  EXPECT_EQ(source.wait(std::chrono::milliseconds(0)), std::nullopt);
  EXPECT_EQ(event_kind(0x8), GpuEventKind::xid);
  EXPECT_EQ(event_kind(0x2), GpuEventKind::ecc_uncorrected);
  EXPECT_EQ(event_kind(0x40), GpuEventKind::other);
}

TEST_F(FakeDriver, ACardThatSpoilsTheSetOfEventsIsLeftOut) {
  ::setenv("FAKE_EVENTS", "1", 1);
  ::setenv("FAKE_CARDS", "3", 1);
  ::setenv("FAKE_SPOILER", "1", 1);
  EventSource source{NvmlOptions(FAKE_NVML)};
  const int before = of_fake("fake_sets_open");
  ASSERT_TRUE(source.open());
  const auto event = source.wait(std::chrono::milliseconds(0));
  ASSERT_TRUE(event) << "of a set that is undefined nothing comes";
  EXPECT_EQ(event->index, 2U) << "the cards after it are listened to";
  EXPECT_EQ(event->kind, GpuEventKind::xid);
  EXPECT_EQ(of_fake("fake_sets_open"), before + 1) << "the undefined one was given back";
}

TEST_F(FakeDriver, NoSetIsLeftWhereEveryCardSpoilsIt) {
  ::setenv("FAKE_EVENTS", "1", 1);
  ::setenv("FAKE_SPOILER", "0", 1);
  EventSource source{NvmlOptions(FAKE_NVML)};
  const int before = of_fake("fake_sets_open");
  EXPECT_FALSE(source.open());
  EXPECT_FALSE(source.is_open());
  EXPECT_EQ(of_fake("fake_sets_open"), before);
}

TEST_F(FakeDriver, PlaceIsReadFromSysfs) {
  GpuPlace place;
  const Library library;
  CallMark mark;
  const Caller caller{library, mark, 0, nullptr, 7};
  read_place(caller, "/nowhere", place);
  EXPECT_EQ(place.numa_node.answer, Answer::cannot_see);
  EXPECT_EQ(place.minor.answer, Answer::not_supported);
}

TEST(AnswerOf, TellsForEverFromNow) {
  EXPECT_EQ(answer_of(abi::kNotSupported), Answer::not_supported);
  EXPECT_EQ(answer_of(abi::kFunctionNotFound), Answer::not_supported);
  EXPECT_EQ(answer_of(abi::kArgumentVersionMismatch), Answer::not_supported);
  EXPECT_EQ(answer_of(abi::kNoPermission), Answer::no_permission);
  EXPECT_EQ(answer_of(abi::kNotFound), Answer::not_yet);
  EXPECT_EQ(answer_of(abi::kUnknown), Answer::failed);
}

TEST(NumberIn, FollowsTheTypeBesideIt) {
  abi::Value value{};
  value.as_u64 = 0xffff'ffff'0000'0007;
  EXPECT_EQ(number_in(value, abi::kU32), 7U);
  EXPECT_EQ(number_in(value, abi::kU16), 7U);
  EXPECT_EQ(number_in(value, abi::kU64), 0xffff'ffff'0000'0007U);
  EXPECT_EQ(number_in(value, abi::kS64), 0U) << "negative";
  EXPECT_EQ(number_in(value, 99), 0U);
  value.as_i32 = -1;
  EXPECT_EQ(number_in(value, abi::kI32), 0U);
  value.as_double = 2.9;
  EXPECT_EQ(number_in(value, abi::kDouble), 2U);
  value.as_double = 1e300;
  EXPECT_EQ(number_in(value, abi::kDouble), 0U);
}

abi::Sample sample(std::uint64_t time_us, std::uint32_t percent) {
  abi::Sample one{};
  one.time_us = time_us;
  one.value.as_u32 = percent;
  return one;
}

TEST(MeanOf, CountsWhatIsNewAndAPercentage) {
  const std::vector<abi::Sample> samples = {sample(10, 100), sample(20, 40), sample(30, 61),
                                            sample(25, 4'000'000)};
  const auto mean = mean_of(samples, abi::kU32, 10);
  ASSERT_TRUE(mean);
  EXPECT_EQ(mean->percent, 51U);
  EXPECT_EQ(mean->newest_us, 30U);
  EXPECT_FALSE(mean_of(samples, abi::kU32, 30));
  EXPECT_FALSE(mean_of({}, abi::kU32, 0));
}

// Has one sample, and never another.
abi::Code one_sample(abi::Device, abi::SamplingType, std::uint64_t last_seen_us, std::int32_t* type,
                     std::uint32_t* count, abi::Sample* samples) {
  static const std::uint64_t taken_us =
      static_cast<std::uint64_t>(os::wall_now().time_since_epoch() / std::chrono::microseconds(1));
  if (samples == nullptr) return *count = 4, abi::kSuccess;
  if (last_seen_us >= taken_us) return abi::kNotFound;
  *type = abi::kU32;
  *count = 1;
  samples[0] = sample(taken_us, 97);
  return abi::kSuccess;
}

TEST(SampleReader, DoesNotHoldOnToASampleForEver) {
  Library library;
  library.samples.address = one_sample;
  CallMark mark;
  SampleReader reader(abi::kGpuSamples);
  Reading<std::uint32_t> busy;
  const auto read_at = [&](std::int64_t seconds) {
    return reader.read({library, mark, 0, nullptr, seconds * 1'000'000'000}, busy);
  };
  EXPECT_TRUE(read_at(100));
  EXPECT_EQ(busy.maybe(), 97U);
  EXPECT_TRUE(read_at(104));
  EXPECT_FALSE(read_at(105)) << "the driver's own idea of now is asked for";
}

TEST(NewestShares, AreOnePerProcess) {
  const auto shares = newest_shares({{7, 1, 10, 1}, {5, 2, 20, 2}, {7, 3, 30, 3}, {7, 9, 101, 3}});
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].pid, 5U);
  EXPECT_EQ(shares[1].pid, 7U);
  EXPECT_EQ(shares[1].sm, 30U);
}

TEST(SysfsBusId, IsOfFourDigitsAndLowerCase) {
  EXPECT_EQ(sysfs_bus_id("00000000:65:00.0"), "0000:65:00.0");
  EXPECT_EQ(sysfs_bus_id("0000000A:CF:00.0"), "000a:cf:00.0");
  EXPECT_EQ(sysfs_bus_id("00010000:65:00.0"), "10000:65:00.0");
  for (const char* bad :
       {"", ":", "65:00.0", "00000000:65:00.0/../..", "0000:6/:00.0", "zzzz:65:00.0"})
    EXPECT_EQ(sysfs_bus_id(bad), "") << bad;
}

TEST(ModuleVersion, IsTheFirstNumberWithDotsOfTheFirstLine) {
  EXPECT_EQ(module_version_in("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Tue\n"
                              "GCC version:  gcc version 12.2.0\n"),
            "570.86.10");
  EXPECT_EQ(module_version_in("NVRM version: none\n12.2.0\n"), "");
  EXPECT_EQ(module_version_in(""), "");
}

}  // namespace
}  // namespace gpuward::gpu
