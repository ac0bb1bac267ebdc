// What version 1 of the wire wrote is read for ever. The files of wire_v1/ were written once, by
// the version that froze it, and are never written again: a test that fails here means that a tag
// has changed its meaning, and that a new gpuward would misread what an older one left behind.

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include "control/messages.h"

namespace gpuward {
namespace {

using namespace std::chrono_literals;
using Bin = std::vector<std::byte>;
using View = std::span<const std::byte>;

Bin frozen(const std::string& name) {
  std::ifstream file(std::string(GPUWARD_SOURCE_DIR "/tests/control/wire_v1/") + name + ".hex");
  EXPECT_TRUE(file) << name;
  Bin bytes;
  std::string line;
  while (std::getline(file, line))
    for (std::size_t at = 0; at + 2 <= line.size(); at += 2)
      bytes.push_back(static_cast<std::byte>(std::stoi(line.substr(at, 2), nullptr, 16)));
  return bytes;
}

template <class T>
Result<T> read_frame(View frame) {
  auto body = wire::open_body(frame.subspan(wire::kFrameHeader));
  if (!body) return fail(std::move(body).error());
  return wire::decode<T>(*body);
}

using Fields = std::map<std::uint16_t, std::vector<View>>;

std::optional<Fields> split(View bytes) {
  Fields found;
  while (!bytes.empty()) {
    if (bytes.size() < 6) return std::nullopt;
    const auto byte = [&](std::size_t at) { return static_cast<unsigned>(bytes[at]); };
    const auto tag = static_cast<std::uint16_t>(byte(0) | byte(1) << 8);
    const std::size_t size = byte(2) | byte(3) << 8 | byte(4) << 16 | byte(5) << 24;
    if (size > bytes.size() - 6) return std::nullopt;
    found[tag].push_back(bytes.subspan(6, size));
    bytes = bytes.subspan(6 + size);
  }
  return found;
}

// Does @p now hold everything that @p then held? It may hold more: newer fields.
testing::AssertionResult keeps(View then, View now, const std::string& where) {
  if (std::ranges::equal(then, now)) return testing::AssertionSuccess();
  const auto before = split(then);
  const auto after = split(now);
  if (!before || !after) return testing::AssertionFailure() << where << " is another value";
  for (const auto& [tag, values] : *before) {
    const auto at = after->find(tag);
    const std::string name = where + "." + std::to_string(tag);
    if (at == after->end() || at->second.size() != values.size())
      return testing::AssertionFailure() << name << " is lost";
    for (std::size_t n = 0; n < values.size(); ++n)
      if (auto kept = keeps(values[n], at->second[n], name); !kept) return kept;
  }
  return testing::AssertionSuccess();
}

template <class T>
void expect_read(const std::string& name) {
  const Bin then = frozen(name);
  ASSERT_GT(then.size(), wire::kFrameHeader + wire::kBodyHeader) << name;
  auto message = read_frame<T>(then);
  ASSERT_TRUE(message) << name << ": " << message.error().message();
  Bin buffer(wire::kMaxSmall + wire::kFrameHeader);
  auto now = wire::encode(*message, buffer);
  ASSERT_TRUE(now) << name;
  const std::size_t header = wire::kFrameHeader + wire::kBodyHeader;
  EXPECT_TRUE(std::ranges::equal(View(then).subspan(4, 4), now->subspan(4, 4))) << "the kind";
  EXPECT_TRUE(keeps(View(then).subspan(header), now->subspan(header), name));
}

// Every field that version 1 knew, each with a value of its own.
TEST(FrozenWire, EveryFieldOfVersion1IsReadAndKept) {
  expect_read<AnchorRecord>("record");
  expect_read<LaunchOrder>("launch_order");
  expect_read<StateNews>("state_news");
  expect_read<AnchorRequest>("anchor_request");
  expect_read<JournalEntry>("journal_entry");
  expect_read<WardenRequest>("warden_request");
  expect_read<WardenAnswer>("warden_answer");
  expect_read<SnapshotNews>("snapshot_news");
}

// A record as an anchor of version 1 wrote it: what its numbers mean.
TEST(FrozenWire, ARecordOfVersion1MeansWhatItMeant) {
  const auto record = read_frame<AnchorRecord>(frozen("record_of_a_service"));
  ASSERT_TRUE(record) << record.error().message();
  EXPECT_EQ(record->boot_id, "11111111-2222-3333-4444-555555555555");
  EXPECT_FALSE(record->ever_restored);
  const LaunchPlan& plan = record->plan;
  EXPECT_EQ(plan.service, "xray");
  EXPECT_EQ(plan.command, (std::vector<std::string>{"python", "app.py"}));
  EXPECT_EQ(plan.env, (std::vector<EnvVar>{{"PATH", "/usr/bin"}, {"EMPTY", ""}}));
  EXPECT_EQ(plan.directory, "/srv/xray");
  EXPECT_EQ(plan.ready, (Readiness{ReadyKind::http, "127.0.0.1:7860", "/config", 120s}));
  EXPECT_EQ(plan.live, (Liveness{LiveKind::notify, "", "", 10s, 3}));
  EXPECT_EQ(plan.port, 7860);
  EXPECT_EQ(plan.grace, 10s);
  EXPECT_EQ(plan.restart, RestartPolicy::always);
  EXPECT_EQ(plan.backoff, (Backoff{1s, 60s, 600s}));
  EXPECT_EQ(plan.pid_file, "/run/xray.pid");
  EXPECT_EQ(plan.log_file, "/var/log/gpuward/xray.log");
  EXPECT_EQ(plan.log.size, Bytes{64ULL << 20});
  EXPECT_EQ(plan.rights.uid, 65534U);
  EXPECT_EQ(plan.rights.limits.at(0).kind, LimitKind::core);
  EXPECT_EQ(plan.cgroup_name, "gpuward.xray.0.1-2");
  const AnchorState& state = record->state;
  EXPECT_EQ(state.phase, Phase::ready);
  EXPECT_EQ(state.anchor, (ProcessId{Pid{4000}, 1'000'000}));
  EXPECT_EQ(state.main, (ProcessId{Pid{4001}, 1'000'001}));
  EXPECT_EQ(state.generation, 3U);
  EXPECT_EQ(state.failures, 2U);
  EXPECT_EQ(state.level, Containment::cgroup);
  EXPECT_EQ(state.cgroup_kind, 1);
  EXPECT_EQ(state.cgroup, "/sys/fs/cgroup/gpuward.xray.0.1-2");
  EXPECT_TRUE(state.has_exit);
  EXPECT_EQ(state.last_exit, (ExitStatus{.signaled = true, .value = 9, .core = false}));
  EXPECT_EQ(state.receipt.memory, MemoryProof::returned);
  EXPECT_EQ(state.receipt.survivors.begin()->state, 'D');
  EXPECT_EQ(state.alarm, LogAlarm::out_of_memory);
  EXPECT_EQ(state.tree_variable, "GPUWARD_TREE=0123456789abcdef0123456789abcdef");
  EXPECT_TRUE(state.stop_asked);
  EXPECT_EQ(unpack(record->members), (std::vector{ProcessId{Pid{4002}, 1'000'002}}));
}

// @p bytes, a struct, with a field of a tag that nobody knows before and after every other one, and
// in each struct that @p into names by its tag.
Bin with_unknown(View bytes, const std::vector<std::uint16_t>& into) {
  const Bin unknown = {std::byte{0x60}, std::byte{0xea}, std::byte{3}, std::byte{}, std::byte{},
                       std::byte{},     std::byte{1},    std::byte{2}, std::byte{3}};  // tag 60000
  Bin out = unknown;
  while (bytes.size() >= 6) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned>(bytes[at]); };
    const auto tag = static_cast<std::uint16_t>(byte(0) | byte(1) << 8);
    const std::size_t size = byte(2) | byte(3) << 8 | byte(4) << 16 | byte(5) << 24;
    const bool inside = std::ranges::find(into, tag) != into.end();
    const View payload = bytes.subspan(6, size);
    const Bin body = inside ? with_unknown(payload, {}) : Bin(payload.begin(), payload.end());
    out.push_back(bytes[0]);
    out.push_back(bytes[1]);
    for (int n = 0; n < 4; ++n) out.push_back(static_cast<std::byte>(body.size() >> 8 * n & 255U));
    out.insert(out.end(), body.begin(), body.end());
    out.insert(out.end(), unknown.begin(), unknown.end());
    bytes = bytes.subspan(6 + size);
  }
  return out;
}

TEST(FrozenWire, FieldsOfALaterVersionAreSkippedAtEveryDepth) {
  const Bin then = frozen("record_of_a_service");
  const auto body = View(then).subspan(wire::kFrameHeader);
  const Bin later = with_unknown(body.subspan(wire::kBodyHeader), {2, 3});
  const auto plain = wire::decode<AnchorRecord>({AnchorRecord::kKind, body.subspan(4)});
  const auto read = wire::decode<AnchorRecord>({AnchorRecord::kKind, later});
  ASSERT_TRUE(plain && read);
  Bin one(wire::kMaxSmall);
  Bin two(wire::kMaxSmall);
  EXPECT_TRUE(
      std::ranges::equal(wire::encode(*plain, one).value(), wire::encode(*read, two).value()));
}

}  // namespace
}  // namespace gpuward
