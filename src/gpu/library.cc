#include "gpu/library.h"

#include <dlfcn.h>

namespace gpuward::gpu {
namespace {

template <class Fn>
void find(void* library, Symbol<Fn>& symbol) {
  symbol.address = reinterpret_cast<Fn*>(::dlsym(library, symbol.name));
}

// Rows offered first; enough for nearly every card. Lists grow while they are read, hence more than
// the need is offered next, and not for ever.
constexpr std::uint32_t kFirstRoom = 64;
constexpr std::uint32_t kMostRoom = 1 << 16;
constexpr int kAttempts = 5;

std::uint32_t more_room(std::uint32_t need) {
  return std::min(need, kMostRoom / 2) * 2 + 8;
}

}  // namespace

std::string Library::load(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return why != nullptr ? why : path;
  }
  find(library, init), find(library, error_string), find(library, driver_version),
      find(library, count);
  find(library, handle), find(library, uuid), find(library, name), find(library, memory);
  find(library, memory_v2), find(library, utilization), find(library, detail_list);
  find(library, process_utilization), find(library, conf_compute);
  for (Lists& kind : lists) find(library, kind.v3), find(library, kind.v2);
  const char* missing = !init     ? init.name
                        : !count  ? count.name
                        : !handle ? handle.name
                        : !uuid   ? uuid.name
                                  : nullptr;
  return missing == nullptr ? std::string() : path + " has no " + missing;
}

std::optional<std::vector<RawRow>> Library::rows(CallMark& mark, int index, abi::Device device,
                                                 abi::ListMode mode) const {
  if (auto found = detailed_rows(mark, index, device, mode)) return found;
  if (mode == abi::kAll) return std::nullopt;
  if (auto found = plain_rows(mark, index, device, lists[mode].v3, 3)) return found;
  return plain_rows(mark, index, device, lists[mode].v2, 2);
}

std::optional<std::vector<RawRow>> Library::detailed_rows(CallMark& mark, int index,
                                                          abi::Device device,
                                                          abi::ListMode mode) const {
  std::uint32_t room = kFirstRoom;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::vector<abi::ProcessDetail> buffer(room);
    abi::ProcessDetailList list{abi::version_tag<abi::ProcessDetailList>(1), mode, room,
                                buffer.data()};
    const abi::Code code = detail_list(mark, index, device, &list);
    if (code == abi::kSuccess)
      return read_rows(std::as_bytes(std::span(buffer)), list.entries, sizeof(abi::ProcessDetail));
    if (code != abi::kInsufficientSize) return std::nullopt;
    room = more_room(list.entries);
  }
  return std::nullopt;
}

std::optional<std::vector<RawRow>> Library::plain_rows(CallMark& mark, int index,
                                                       abi::Device device,
                                                       const Symbol<abi::ProcessesFn>& list,
                                                       int version) const {
  std::uint32_t room = kFirstRoom;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    // Room for the longest rows, whatever the driver's are: it must never write past the end.
    std::vector<std::byte> buffer(room * sizeof(abi::ProcessDetail), kUntouched);
    std::uint32_t found = room;
    const abi::Code code = list(mark, index, device, &found, static_cast<void*>(buffer.data()));
    if (code == abi::kSuccess) {
      const auto by_symbol = stride_by_symbol(version, static_cast<bool>(conf_compute),
                                              static_cast<bool>(detail_list));
      return read_rows(buffer, found, row_stride(buffer, found, by_symbol));
    }
    if (code != abi::kInsufficientSize) return std::nullopt;
    room = more_room(found);
  }
  return std::nullopt;
}

}  // namespace gpuward::gpu
