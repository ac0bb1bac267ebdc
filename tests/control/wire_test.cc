#include "control/wire.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <limits>
#include <string>
#include <vector>

#include "control/frames.h"
#include "control/gateway_messages.h"
#include "control/messages.h"
#include "domain/gpu_readings.h"

namespace gpuward {
namespace {

using namespace std::chrono_literals;

// Decodes a whole frame.
template <class T>
Result<T> read_frame(std::span<const std::byte> frame) {
  auto body = wire::open_body(frame.subspan(wire::kFrameHeader));
  if (!body) return fail(std::move(body).error());
  return wire::decode<T>(*body);
}

// A frame of one AnchorRequest with @p extra fields after the header.
Bin request_frame(const Bin& extra) {
  Bin frame = bin({static_cast<int>(extra.size()) + 4, 0, 0, 0, 'g', 'w', 1, AnchorRequest::kKind});
  frame.insert(frame.end(), extra.begin(), extra.end());
  return frame;
}

// Fills every field that the field lists know with a value of its own that is not its default.
class Filler {
 public:
  template <class T>
  void operator()(std::uint16_t, T& value) {
    fill(value);
  }

 private:
  template <class T>
  void fill(T& value) {
    ++count_;
    if constexpr (std::is_same_v<T, bool>) {
      value = !value;
    } else if constexpr (std::is_enum_v<T>) {
      // Any number of its size may arrive.
      // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange)
      value = static_cast<T>(static_cast<int>(value) + 1);
    } else if constexpr (std::signed_integral<T>) {
      value = static_cast<T>(-1'000'000 - count_);
    } else if constexpr (std::integral<T>) {
      value =
          static_cast<T>(count_ % 2 == 0 ? ~T{0} - static_cast<T>(count_) : static_cast<T>(count_));
    } else if constexpr (std::is_same_v<T, double>) {
      value = 0.1 * count_;
    } else if constexpr (wire::is_duration<T>) {
      value = T(count_ % 2 == 0 ? count_ : -count_);
    } else if constexpr (std::is_same_v<T, Bytes>) {
      value.count = ~0ULL - static_cast<std::uint64_t>(count_);
    } else if constexpr (std::is_same_v<T, Pid>) {
      value.number = 4'194'304 + count_;
    } else if constexpr (wire::is_text<T> || std::is_same_v<T, std::string>) {
      value = T(std::string("\0\n胸 ", 6) + std::to_string(count_));
    } else if constexpr (wire::is_list<T>) {
      for (int n = 0; n < 3; ++n) {
        std::remove_cvref_t<decltype(*value.begin())> item{};
        fill(item);
        value.push_back(item);
      }
    } else if constexpr (wire::is_optional<T>) {
      value.emplace();
      fill(*value);
    } else {
      fields(*this, value);
    }
  }

  int count_ = 0;
};

template <class T>
T filled() {
  T message{};
  Filler filler;
  fields(filler, message);
  return message;
}

template <class T>
class EveryMessage : public testing::Test {};
using Messages = testing::Types<AnchorRecord, LaunchOrder, StateNews, AnchorRequest, JournalEntry,
                                WardenRequest, WardenAnswer, SnapshotNews, CardBook, HealBook,
                                DoorPlan, GatewayRequest, GatewayAnswer>;
TYPED_TEST_SUITE(EveryMessage, Messages);

// The encoding is canonical, so equal bytes are equal values of all fields; that the fields really
// stand in the bytes is what the named tests below check on single values.
TYPED_TEST(EveryMessage, ComesBackWhole) {
  const auto frame = frame_of(filled<TypeParam>());
  EXPECT_GT(frame.size(), frame_of(TypeParam{}).size());
  auto back = read_frame<TypeParam>(frame);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(frame_of(*back), frame);
}

TYPED_TEST(EveryMessage, IsDefaultWhenEmpty) {
  auto back = wire::decode<TypeParam>({TypeParam::kKind, {}});
  ASSERT_TRUE(back);
  EXPECT_EQ(frame_of(*back), frame_of(TypeParam{}));
}

TYPED_TEST(EveryMessage, CutAnywhereIsAnErrorOrAPrefix) {
  const auto frame = frame_of(filled<TypeParam>());
  const auto body = std::span(frame).subspan(wire::kFrameHeader);
  for (std::size_t size = 0; size < body.size(); ++size) {
    // A copy of its own, so that AddressSanitizer sees every byte read beyond the end.
    const Bin cut(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size));
    auto opened = wire::open_body(cut);
    ASSERT_EQ(opened.has_value(), size >= wire::kBodyHeader) << size;
    if (!opened) continue;
    auto value = wire::decode<TypeParam>(*opened);
    if (!value) {
      EXPECT_EQ(value.error().code, make_error_code(Errc::bad_message));
      continue;
    }
    EXPECT_LT(frame_of(*value).size(), frame_of(TypeParam{}).size() + frame.size());
  }
}

TYPED_TEST(EveryMessage, IsNotTakenForAnotherKind) {
  auto value = wire::decode<TypeParam>({static_cast<std::uint8_t>(TypeParam::kKind + 1), {}});
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().doing.view(), "read a message of another kind");
}

TYPED_TEST(EveryMessage, SkipsTagsItDoesNotKnow) {
  auto frame = frame_of(filled<TypeParam>());
  const auto later = bin({0xff, 0x7f, 3, 0, 0, 0, 1, 2, 3});
  Bin longer = frame;
  longer.insert(longer.begin() + wire::kFrameHeader + wire::kBodyHeader, later.begin(),
                later.end());
  longer.insert(longer.end(), later.begin(), later.end());
  auto back = read_frame<TypeParam>(longer);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(frame_of(*back), frame);
}

TYPED_TEST(EveryMessage, DoesNotFitIntoLessThanItsSize) {
  const auto message = filled<TypeParam>();
  const auto whole = frame_of(message).size();
  const std::size_t step = std::max<std::size_t>(1, whole / 512);
  for (std::size_t size = 0; size < whole; size += step) {
    Bin buffer(size);
    auto frame = wire::encode(message, buffer);
    ASSERT_FALSE(frame) << size;
    EXPECT_EQ(frame.error().code, make_error_code(Errc::bad_message));
  }
  Bin last(whole - 1);
  EXPECT_FALSE(wire::encode(message, last));
  Bin exact(whole);
  EXPECT_TRUE(wire::encode(message, exact));
}

TEST(Wire, ARecordComesBackFieldByField) {
  AnchorRecord record;
  record.boot_id = "b5dc9a0c-58cf-4d2f-9d3a-8a5ee3a0a5a1";
  record.members = std::string("\x01\0\0\0\x02\0\0\0\0\0\0\0", 12);
  record.plan.service = "llama";
  record.plan.replica = 3;
  record.plan.command = {"python3", "", "-m", "serve"};
  record.plan.env = {{"PATH", "/usr/bin"}, {"EMPTY", ""}};
  record.plan.ready = {ReadyKind::http, "[::1]:7860", "/health", 90s};
  record.plan.ready.text = "Running on";
  record.plan.live = {LiveKind::http, "127.0.0.1:1", "/live", 5s, 7};
  record.plan.port = 65535;
  record.plan.restart = RestartPolicy::never;
  record.plan.backoff = {1ms, 2ms, 3ms};
  record.state.phase = Phase::unkillable;
  record.state.main = {{4'194'304}, ~0ULL};
  record.state.last_exit = {true, 11, true};
  record.state.since_ns = -1;
  record.state.gpu_held = 80_GiB;
  record.state.receipt.ports_freed.push_back(7860);
  record.state.receipt.ports_freed.push_back(0);
  record.state.receipt.survivors.push_back({{17}, "nv_queue", 'D', "rpc_wait_bit_killable"});
  record.state.receipt.memory = MemoryProof::held;
  record.ever_restored = true;
  auto back = read_frame<AnchorRecord>(frame_of(record));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->boot_id, record.boot_id);
  EXPECT_EQ(back->plan.service, "llama");
  EXPECT_EQ(back->plan.replica, 3U);
  EXPECT_EQ(back->plan.command, record.plan.command);
  EXPECT_EQ(back->plan.env, record.plan.env);
  EXPECT_EQ(back->plan.ready, record.plan.ready);
  EXPECT_EQ(back->plan.live, record.plan.live);
  EXPECT_EQ(back->plan.port, 65535);
  EXPECT_EQ(back->plan.restart, RestartPolicy::never);
  EXPECT_EQ(back->plan.backoff, record.plan.backoff);
  EXPECT_EQ(back->state.phase, Phase::unkillable);
  EXPECT_EQ(back->state.main, record.state.main);
  EXPECT_EQ(back->state.last_exit, record.state.last_exit);
  EXPECT_EQ(back->state.since_ns, -1);
  EXPECT_EQ(back->state.gpu_held, 80_GiB);
  ASSERT_EQ(back->state.receipt.ports_freed.size(), 2U);
  EXPECT_EQ(back->state.receipt.ports_freed[0], 7860);
  EXPECT_EQ(back->state.receipt.ports_freed[1], 0);
  ASSERT_EQ(back->state.receipt.survivors.size(), 1U);
  EXPECT_EQ(back->state.receipt.survivors[0].pid, Pid{17});
  EXPECT_EQ(back->state.receipt.survivors[0].state, 'D');
  EXPECT_EQ(back->state.receipt.survivors[0].wchan.view(), "rpc_wait_bit_killable");
  EXPECT_EQ(back->state.receipt.memory, MemoryProof::held);
  EXPECT_TRUE(back->ever_restored);
  EXPECT_EQ(unpack(back->members), (std::vector<ProcessId>{{Pid{1}, 2}}));
}

TEST(PackedMembers, ComeBackAndAHalfOneIsNone) {
  const std::vector<ProcessId> ids = {{Pid{1}, 0}, {Pid{4'194'303}, 0xfedcba9876543210}};
  std::string packed(ids.size() * kPackedMember, '\0');
  for (std::size_t n = 0; n < ids.size(); ++n)
    pack(ids[n], std::span(packed).subspan(n * kPackedMember).first<kPackedMember>());
  EXPECT_EQ(unpack(packed), ids);
  EXPECT_EQ(unpack(packed.substr(0, kPackedMember + 5)).size(), 1U);
  EXPECT_TRUE(unpack(std::string(kPackedMember, '\xff')).empty()) << "a negative pid is none";
}

TEST(Wire, AbsentAndZeroAreTwoThings) {
  WardenAnswer answer;
  answer.status.emplace();
  answer.status->gpu.devices.resize(1);
  answer.status->gpu.devices[0].busy_percent = 0;
  answer.status->services.resize(1);
  auto back = read_frame<WardenAnswer>(frame_of(answer));
  ASSERT_TRUE(back);
  ASSERT_TRUE(back->status);
  EXPECT_FALSE(back->status->warden);
  ASSERT_EQ(back->status->gpu.devices.size(), 1U);
  EXPECT_EQ(back->status->gpu.devices[0].busy_percent, 0U);
  ASSERT_EQ(back->status->services.size(), 1U);
  EXPECT_FALSE(back->status->services[0].memory_proof);
}

TEST(Wire, ASnapshotOfTheLargestMachinesStaysFarBelowItsLimit) {
  constexpr std::uint32_t kNumber = ~std::uint32_t{0};
  constexpr std::int64_t kTime = std::int64_t{1} << 62;
  GpuProcess row;
  row.pid = kNumber, row.start_ticks = ~std::uint64_t{0}, row.kind = 2;
  row.memory = {Bytes{~std::uint64_t{0}}, kTime};
  row.sm_percent = row.memory_percent = {kNumber, kTime};
  row.pairing = Pairing::foreign;
  row.gpu_instance = row.compute_instance = kNumber;
  SnapshotNews news;
  news.snapshot.devices.resize(64);
  for (auto& device : news.snapshot.devices) {
    for_each_reading(device, [&](const char*, auto& reading) {
      reading = {std::numeric_limits<std::remove_cvref_t<decltype(reading.value)>>::max(), kTime};
    });
    device.name = device.uuid = device.detail = std::string(200, 'x');
    device.place.neighbours.resize(63, {kNumber, GpuDistance::system});
    device.ended.resize(kMostEnded);
    device.instances.resize(kMostInstances);
    device.processes.resize(kMostRowsOfAll / 64, row);
  }
  news.snapshot.events.resize(kMostEvents);
  std::vector<std::byte> buffer(wire::kMaxLarge);
  const auto frame = wire::encode(news, buffer);
  ASSERT_TRUE(frame) << "the bounds of domain/gpu.h are too wide for a frame";
  EXPECT_LT(frame->size(), wire::kMaxLarge * 3 / 4);
}

// What programs knew of a snapshot when GpuDevice's tag 7 was a bare number and there was no
// tag 11.
struct OlderDevice {
  std::optional<std::uint32_t> busy;
};
struct OlderSnapshot {
  std::vector<OlderDevice> devices;
};
struct OlderNews {
  static constexpr std::uint8_t kKind = SnapshotNews::kKind;
  OlderSnapshot snapshot;
};
template <class A>
void fields(A& a, OlderDevice& v) {
  a(7, v.busy);
}
template <class A>
void fields(A& a, OlderSnapshot& v) {
  a(4, v.devices);
}
template <class A>
void fields(A& a, OlderNews& v) {
  a(1, v.snapshot);
}

TEST(Wire, AReadingIsReadAsANumberByOlderProgramsAndFromThem) {
  SnapshotNews news;
  news.snapshot.devices.resize(2);
  news.snapshot.devices[0].busy_percent = Reading<std::uint32_t>(0, 123);
  news.snapshot.devices[1].busy_percent = Reading<std::uint32_t>::none(Answer::not_supported, 9);
  const auto frame = frame_of(news);
  auto back = read_frame<SnapshotNews>(frame);
  ASSERT_TRUE(back);
  for (std::size_t n = 0; n < 2; ++n)
    EXPECT_EQ(back->snapshot.devices[n].busy_percent, news.snapshot.devices[n].busy_percent);
  EXPECT_TRUE(back->snapshot.devices[0].memory_busy_percent.blank());

  auto older = read_frame<OlderNews>(frame);
  ASSERT_TRUE(older);
  ASSERT_EQ(older->snapshot.devices.size(), 2U);
  EXPECT_EQ(older->snapshot.devices[0].busy, 0U);
  EXPECT_EQ(older->snapshot.devices[1].busy, std::nullopt);
  older->snapshot.devices[0].busy = 40;
  auto newer = read_frame<SnapshotNews>(frame_of(*older));
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->snapshot.devices[0].busy_percent, Reading<std::uint32_t>(40));
  EXPECT_TRUE(newer->snapshot.devices[1].busy_percent.blank());
}

// What version 1 wrote, for ever. If this fails, the format was changed, not the test.
TEST(Wire, Version1OfARequestIsReadForEver) {
  const auto frame = bin({58,  0,   0, 0,                                     //
                          'g', 'w', 1, 4,                                     //
                          1,   0,   1, 0, 0, 0, 1,                            // what: stop
                          2,   0,   1, 0, 0, 0, 1,                            // has_grace
                          3,   0,   2, 0, 0, 0, 0x20, 0x4e,                   // grace: 10 000 ms
                          4,   0,   0, 0, 0, 0,                               // sees_gpu: no
                          5,   0,   1, 0, 0, 0, 7,                            // generation
                          6,   0,   1, 0, 0, 0, 3,                            // proof: held
                          7,   0,   6, 0, 0, 0, 0x01, 0,    0, 0, 0, 0x80});  // bytes
  auto request = read_frame<AnchorRequest>(frame);
  ASSERT_TRUE(request) << request.error().message();
  EXPECT_EQ(request->what, AnchorRequest::What::stop);
  EXPECT_TRUE(request->has_grace);
  EXPECT_EQ(request->grace, 10s);
  EXPECT_FALSE(request->sees_gpu);
  EXPECT_EQ(request->generation, 7U);
  EXPECT_EQ(request->proof, MemoryProof::held);
  EXPECT_EQ(request->bytes, Bytes{0x800000000001});
  EXPECT_EQ(frame_of(*request), frame);
}

TEST(Wire, SignedNumbersAreShortOnBothSidesOfZero) {
  for (const auto ms : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1}, INT64_MIN, INT64_MAX}) {
    AnchorRequest request;
    request.grace = std::chrono::milliseconds(ms);
    const auto frame = frame_of(request);
    auto back = read_frame<AnchorRequest>(frame);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->grace.count(), ms);
    if (ms == -1) {
      EXPECT_EQ(frame.size(), frame_of(AnchorRequest{}).size() + 1);
    }
  }
}

TEST(Wire, NumbersTooLongForTheirFieldAreRefused) {
  const Bin too_long[] = {
      bin({1, 0, 2, 0, 0, 0, 1, 1}),                       // an enum of one byte
      bin({2, 0, 2, 0, 0, 0, 1, 0}),                       // a bool
      bin({5, 0, 5, 0, 0, 0, 1, 1, 1, 1, 1}),              // 32 bits
      bin({3, 0, 9, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1}),  // 64 bits, signed
      bin({7, 0, 9, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1}),  // 64 bits
  };
  for (const auto& field : too_long) {
    auto request = read_frame<AnchorRequest>(request_frame(field));
    ASSERT_FALSE(request) << static_cast<int>(field[0]);
    EXPECT_EQ(request.error().code, make_error_code(Errc::bad_message));
  }
  // spawn_errno is an int: what needs more than 32 bits must not come out as another number.
  const auto state = bin({'g', 'w', 1,  StateNews::kKind,
                          1,   0,   11, 0,
                          0,   0,  //
                          21,  0,   5,  0,
                          0,   0,   0,  0,
                          0,   0,   2});
  auto news = wire::decode<StateNews>(*wire::open_body(state));
  EXPECT_FALSE(news);
}

TEST(Wire, ALengthBeyondTheInputIsRefused) {
  for (const auto& field : {bin({1, 0, 255, 255, 255, 255}), bin({1, 0, 2, 0, 0, 0, 1}),
                            bin({0xee, 0xee, 1, 0, 0, 0}), bin({1, 0, 0, 0, 0}), bin({1})})
    EXPECT_FALSE(read_frame<AnchorRequest>(request_frame(field)));
}

TEST(Wire, TheLastOfARepeatedFieldStands) {
  auto request =
      read_frame<AnchorRequest>(request_frame(bin({5, 0, 1, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 2})));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->generation, 2U);
}

TEST(Wire, AListBeyondItsCapacityIsCountedNotKept) {
  Bin receipt;
  for (int port = 1; port <= 40; ++port)
    for (const int byte : {5, 0, 1, 0, 0, 0, port}) receipt.push_back(static_cast<std::byte>(byte));
  Bin body = bin({'g', 'w', 1, JournalEntry::kKind, 1, 0, static_cast<int>(receipt.size() & 0xff),
                  static_cast<int>(receipt.size() >> 8), 0, 0});
  body.insert(body.end(), receipt.begin(), receipt.end());
  auto entry = wire::decode<JournalEntry>(*wire::open_body(body));
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->receipt.ports_freed.size(), 32U);
  EXPECT_EQ(entry->receipt.ports_freed.dropped(), 8U);
}

TEST(OpenBody, TakesOnlyOursFromVersion1On) {
  EXPECT_TRUE(wire::open_body(bin({'g', 'w', 1, 4})));
  EXPECT_TRUE(wire::open_body(bin({'g', 'w', 200, 4})));
  for (const auto& bad : {bin({}), bin({'g', 'w', 1}), bin({'g', 'w', 0, 4}), bin({'G', 'w', 1, 4}),
                          bin({'g', 'W', 1, 4}), bin({'{', '"', 'a', '"'})})
    EXPECT_FALSE(wire::open_body(bad));
  EXPECT_EQ(wire::open_body(bin({'g', 'w', 1, 9}))->kind, 9);
}

}  // namespace
}  // namespace gpuward
