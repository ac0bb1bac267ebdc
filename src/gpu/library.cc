#include "gpu/library.h"

#include <dlfcn.h>

namespace gpuward::gpu {
namespace {

template <class Fn>
void find(void* library, Symbol<Fn>& symbol) {
  symbol.address = reinterpret_cast<Fn*>(::dlsym(library, symbol.name));
}

// Lists grow while they are read, hence more than the need is offered next, and not for ever.
constexpr std::uint32_t kMostRoom = 1 << 16;
constexpr int kAttempts = 5;

std::uint32_t more_room(std::uint32_t need) {
  return std::min(need, kMostRoom / 2) * 2 + 8;
}

}  // namespace

void Library::find_all(void* handle_) {
  const auto all = [handle_](auto&... symbols) { (find(handle_, symbols), ...); };
  all(init, error_string, driver_version, count, handle, uuid, name);
  all(memory, memory_v2, utilization, samples, fields);
  all(detail_list, process_utilization, processes_utilization, conf_compute);
  for (Lists& kind : lists) all(kind.v3, kind.v2);
  all(temperature, threshold, clock, clock_max, power, power_limit, energy, reasons,
      reasons_before_535);
  all(ecc_total, remapped_rows, sram);
  all(link_generation, link_generation_max, link_width, link_width_max);
  all(pci, minor, architecture, capability, persistence, compute_mode, ecc_mode, ancestor);
  all(accounting_mode, accounting_stats);
  all(mig_mode, mig_most, mig_handle, gpu_instance, compute_instance, attributes);
  all(gpm_support, gpm_alloc, gpm_sample, gpm_metrics);
  all(event_set, event_set_free, event_types, register_events, event_wait);
}

std::string Library::load(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    return why != nullptr ? why : path;
  }
  find_all(library);
  const char* missing = !init     ? init.name
                        : !count  ? count.name
                        : !handle ? handle.name
                        : !uuid   ? uuid.name
                                  : nullptr;
  return missing == nullptr ? std::string() : path + " has no " + missing;
}

std::string Library::explain(const char* call, abi::Code code) const {
  std::string text = std::string(call) + ": code " + std::to_string(code);
  if (error_string) {
    if (const char* words = error_string.address(code); words != nullptr)
      text += std::string(", ") + words;
  }
  return text;
}

std::optional<std::vector<RawRow>> Library::rows(CallMark& mark, int index, abi::Device device,
                                                 abi::ListMode mode, std::uint32_t& room,
                                                 abi::Code* code) const {
  abi::Code last = abi::kSuccess;
  auto found = detailed_rows(mark, index, device, mode, room, last);
  if (!found && mode != abi::kAll)
    found = plain_rows(mark, index, device, lists[mode].v3, 3, room, last);
  if (!found && mode != abi::kAll)
    found = plain_rows(mark, index, device, lists[mode].v2, 2, room, last);
  if (code != nullptr) *code = last;
  return found;
}

std::optional<std::vector<RawRow>> Library::detailed_rows(CallMark& mark, int index,
                                                          abi::Device device, abi::ListMode mode,
                                                          std::uint32_t& room,
                                                          abi::Code& code) const {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::vector<abi::ProcessDetail> buffer(room);
    abi::ProcessDetailList list{abi::version_tag<abi::ProcessDetailList>(1), mode, room,
                                buffer.data()};
    code = detail_list(mark, index, device, &list);
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
                                                       int version, std::uint32_t& room,
                                                       abi::Code& code) const {
  if (!list) return std::nullopt;  // what the newer form answered says more than its absence
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    // Room for the longest rows, whatever the driver's are: it must never write past the end.
    std::vector<std::byte> buffer(room * sizeof(abi::ProcessDetail), kUntouched);
    std::uint32_t found = room;
    code = list(mark, index, device, &found, static_cast<void*>(buffer.data()));
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
