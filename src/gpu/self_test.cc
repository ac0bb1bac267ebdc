#include "gpu/self_test.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "gpu/library.h"
#include "gpu/nvml.h"

namespace gpuward::gpu {
namespace {

using Tell = std::function<void(std::string_view line)>;
using Held = std::map<std::uint32_t, std::uint64_t>;  // pid -> bytes

constexpr std::uint32_t kRoom = 4096;
constexpr int kAttempts = 3;  // processes come and go between two lists

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
  const std::string gpu = "GPU " + std::to_string(card) + ": ";
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

}  // namespace

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
    test_stride(library, mark, card, device, tell);
  }
}

}  // namespace gpuward::gpu
