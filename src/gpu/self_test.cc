#include "gpu/self_test.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <new>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "gpu/nvml.h"
#include "os/clock.h"

namespace gpuward::gpu {
namespace {

using Tell = TellSelfTest;
using Held = std::map<std::uint32_t, std::uint64_t>;  // pid -> bytes

constexpr std::uint32_t kRoom = 4096;
constexpr int kAttempts = 3;  // processes come and go between two lists

std::string named(int card) {
  return "GPU " + std::to_string(card) + ": ";
}

struct Measured {
  std::vector<RawRow> rows;
  std::size_t stride = 0;
  bool exact = false;  ///< the buffer alone tells, whatever the symbols say
};

// As Library::rows() falls back to it, but whether or not the newer list works.
std::optional<Measured> measure(const Library& library, CallMark& mark, int card,
                                abi::Device device) {
  const auto& list = library.lists[abi::kCompute];
  const bool third = static_cast<bool>(list.v3);
  std::vector<std::byte> buffer(kRoom * sizeof(abi::ProcessDetail), kUntouched);
  std::uint32_t count = kRoom;
  const auto& call = third ? list.v3 : list.v2;
  if (call(mark, card, device, &count, static_cast<void*>(buffer.data())) != abi::kSuccess)
    return std::nullopt;
  Measured found;
  const auto by_symbol = stride_by_symbol(third ? 3 : 2, static_cast<bool>(library.conf_compute),
                                          static_cast<bool>(library.detail_list));
  found.stride = row_stride(buffer, count, by_symbol);
  found.exact = row_stride(buffer, count, 16) == found.stride &&
                row_stride(buffer, count, 24) == found.stride &&
                row_stride(buffer, count, 32) == found.stride;
  found.rows = read_rows(buffer, count, found.stride);
  return found;
}

std::optional<Held> held_by_detail(const Library& library, CallMark& mark, int card,
                                   abi::Device device) {
  if (!library.detail_list) return std::nullopt;
  std::vector<abi::ProcessDetail> buffer(kRoom);
  abi::ProcessDetailList list{abi::version_tag<abi::ProcessDetailList>(1), abi::kCompute, kRoom,
                              buffer.data()};
  if (library.detail_list(mark, card, device, &list) != abi::kSuccess) return std::nullopt;
  Held held;
  for (std::uint32_t n = 0; n < std::min(list.entries, kRoom); ++n)
    held[buffer[n].pid] = buffer[n].memory;
  return held;
}

Held held_by(const std::vector<RawRow>& rows) {
  Held held;
  for (const auto& row : rows) held[row.pid] = row.memory;
  return held;
}

void test_stride(const Library& library, CallMark& mark, int card, abi::Device device,
                 const Tell& tell) {
  const std::string gpu = named(card);
  std::optional<Measured> measured;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    measured = measure(library, mark, card, device);
    if (!measured) return tell("unseen stride " + gpu + "the plain list is not to be had");
    if (measured->rows.empty()) return tell("unseen stride " + gpu + "no process to measure by");
    const std::string text = gpu + std::to_string(measured->rows.size()) + " rows of " +
                             std::to_string(measured->stride) + " bytes";
    const auto detail = held_by_detail(library, mark, card, device);
    if (!detail)
      return tell((measured->exact ? "ok stride " : "unseen stride ") + text +
                  "; there is no newer list to compare them with");
    if (*detail == held_by(measured->rows))
      return tell("ok stride " + text + ", the same as in the newer list");
  }
  tell("differs stride " + gpu + std::to_string(measured->rows.size()) + " rows of " +
       std::to_string(measured->stride) + " bytes are not those of the newer list");
}

// Two samples, and three of their metrics in a list with room for them alone: whatever is written
// beyond it falls into room that is kept for that, as long as the longest list of any header.
void test_gpm(const Library& library, CallMark& mark, int card, abi::Device device,
              const Tell& tell) {
  constexpr std::uint32_t kAsked = 3;
  constexpr std::size_t kLongest = 333;
  constexpr auto kBetween = std::chrono::milliseconds(110);  // at least 100, NVML says
  const std::string gpu = named(card);
  abi::GpmSupport support{1, 0};
  if (library.gpm_support(mark, card, device, &support) != abi::kSuccess || support.supported == 0)
    return tell("unseen gpm " + gpu + "not offered by this card or driver");
  abi::GpmSample older = nullptr;
  abi::GpmSample newer = nullptr;
  if (library.gpm_alloc(mark, card, &older) != abi::kSuccess ||
      library.gpm_alloc(mark, card, &newer) != abi::kSuccess ||
      library.gpm_sample(mark, card, device, older) != abi::kSuccess)
    return tell("unseen gpm " + gpu + "no sample is to be had");
  std::this_thread::sleep_for(kBetween);
  if (library.gpm_sample(mark, card, device, newer) != abi::kSuccess)
    return tell("unseen gpm " + gpu + "no second sample is to be had");
  constexpr std::size_t kHead = offsetof(abi::GpmMetrics, metrics);
  alignas(abi::GpmMetrics) static std::byte room[kHead + kLongest * sizeof(abi::GpmMetric)];
  std::ranges::fill(room, kUntouched);
  auto* list = new (room) abi::GpmMetrics;
  list->version = 1;
  list->count = kAsked;
  list->older = older;
  list->newer = newer;
  for (std::uint32_t n = 0; n < kAsked; ++n) list->metrics[n] = {n + 1, 0, 0, {}};
  if (const auto code = library.gpm_metrics(mark, card, list); code != abi::kSuccess)
    return tell("differs gpm " + gpu + "a list of 3 is refused: code " + std::to_string(code));
  const auto beyond = std::span(room).subspan(kHead + kAsked * sizeof(abi::GpmMetric));
  if (std::ranges::any_of(beyond, [](std::byte b) { return b != kUntouched; }))
    return tell("differs gpm " + gpu + "more is written than a list of 3 has room for");
  tell("ok gpm " + gpu + "a list of 3 is as good as one of 98 or 333");
}

void test_mig(const Library& library, CallMark& mark, int card, abi::Device device,
              const Tell& tell) {
  const std::string gpu = named(card);
  std::uint32_t now = 0;
  std::uint32_t pending = 0;
  if (library.mig_mode(mark, card, device, &now, &pending) != abi::kSuccess || now == 0)
    return tell("unseen mig " + gpu + "MIG is off, or not to be had");
  std::uint32_t most = 0;
  if (library.mig_most(mark, card, device, &most) != abi::kSuccess || most == 0)
    return tell("differs mig " + gpu + "MIG is on, but no number of instances is told");
  std::uint32_t found = 0;
  for (std::uint32_t n = 0; n < most; ++n) {
    abi::Device instance = nullptr;
    const auto code = library.mig_handle(mark, card, device, n, &instance);
    if (code != abi::kSuccess && code != abi::kNotFound)
      return tell("differs mig " + gpu + "an empty place is told as code " + std::to_string(code));
    found += code == abi::kSuccess ? 1 : 0;
  }
  tell("ok mig " + gpu + std::to_string(found) + " of " + std::to_string(most) + " instances");
}

void test_events(const Library& library, CallMark& mark, int card, abi::Device device,
                 const Tell& tell) {
  constexpr std::uint32_t kPatienceMs = 50;
  constexpr auto kTooLong = std::chrono::milliseconds(1000);
  const std::string gpu = named(card);
  abi::EventSet set = nullptr;
  std::uint64_t offered = 0;
  if (library.event_types(mark, card, device, &offered) != abi::kSuccess ||
      (offered & abi::kEventXid) == 0 || library.event_set(mark, card, &set) != abi::kSuccess)
    return tell("unseen events " + gpu + "not offered by this card or driver");
  if (library.register_events(mark, card, device, abi::kEventXid, set) != abi::kSuccess) {
    (void)library.event_set_free(mark, card, set);
    return tell("unseen events " + gpu + "they cannot be registered for");
  }
  abi::EventData data{};
  const Instant begun = os::now();
  const auto code = library.event_wait(mark, card, set, &data, kPatienceMs);
  const auto took = os::now() - begun;
  (void)library.event_set_free(mark, card, set);
  const std::string text = "a wait of " + std::to_string(kPatienceMs) + " ms took " +
                           std::to_string(took / std::chrono::milliseconds(1)) + ", code " +
                           std::to_string(code);
  const bool well = (code == abi::kTimeout || code == abi::kSuccess) && took < kTooLong;
  tell((well ? "ok events " : "differs events ") + gpu + text);
}

}  // namespace

void self_test_card(const Library& library, CallMark& mark, int card, abi::Device device,
                    const TellSelfTest& tell) {
  // Tests that take time are made on few cards of many: those beside them are seldom others.
  constexpr int kCardsTakingTime = 4;
  test_stride(library, mark, card, device, tell);
  test_mig(library, mark, card, device, tell);
  if (card >= kCardsTakingTime) return;
  test_gpm(library, mark, card, device, tell);
  test_events(library, mark, card, device, tell);
}

void self_test(const std::string& path, const Tell& tell) {
  Library library;
  CallMark mark;
  if (const auto trouble = library.load(library_path(path)); !trouble.empty())
    return tell("unseen library " + trouble);
  if (const auto code = library.init(mark, -1); code != abi::kSuccess)
    return tell("unseen library nvmlInit_v2: code " + std::to_string(code));
  std::uint32_t count = 0;
  if (library.count(mark, -1, &count) != abi::kSuccess) return;
  for (std::uint32_t index = 0; index < count; ++index) {
    abi::Device device = nullptr;
    const int card = static_cast<int>(index);
    if (library.handle(mark, card, index, &device) != abi::kSuccess) continue;
    self_test_card(library, mark, card, device, tell);
  }
}

}  // namespace gpuward::gpu
