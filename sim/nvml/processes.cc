#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "nvml/library.h"

/// Who uses a card: process lists and their share of the time.
namespace gpuward::gpusim::nvml {
namespace {

enum class Kind { kCompute, kGraphics, kMps };

struct Row {
  std::uint64_t pid;
  std::uint64_t memory;
  std::uint32_t instance;
};

void add_foreign_rows(unsigned index, std::vector<Row>& rows) {
  const DeviceEntry& device = device_entry(index);
  for (;;) {
    const std::uint64_t head = device.foreign_head.load(std::memory_order_acquire);
    const ForeignRow* from = session().state().foreign[index][head >> 16 & 1];
    const std::size_t count = std::min<std::size_t>(head & 0xffff, kMaxForeign);
    std::vector<Row> found;
    found.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      found.push_back(
          {__atomic_load_n(&from[i].pid, __ATOMIC_RELAXED),
           __atomic_load_n(&from[i].memory_bytes, __ATOMIC_RELAXED),
           static_cast<std::uint32_t>(__atomic_load_n(&from[i].instance, __ATOMIC_RELAXED))});
    }
    if (device.foreign_head.load(std::memory_order_acquire) != head) continue;
    rows.insert(rows.end(), found.begin(), found.end());
    return;
  }
}

/// One row per process, as seen from this PID namespace; who is not visible from here is left out,
/// as newer drivers do.
/// @param instance  only its rows; kNoInstance: all of the card
std::vector<Row> rows_of(unsigned index, std::uint32_t instance, Kind kind) {
  const auto sharing =
      session().look(index, [](const DeviceValue& device) { return device.sharing; });
  std::vector<Row> rows;
  if (kind == Kind::kGraphics || (kind == Kind::kMps) != (sharing == kMps)) return rows;
  const auto live = session().sweep_recent(index, 2'000'000);
  std::map<std::uint32_t, Row> by_slot;
  for (const LiveRow& row : live) {
    if (row.pid <= 0) continue;
    Row& sum = by_slot[row.context.slot];
    sum.pid = static_cast<std::uint64_t>(row.pid);
    sum.memory += row.context.memory_bytes;
    sum.instance = sharing == kMig ? row.context.instance : kNoInstance;
  }
  for (const auto& [slot, row] : by_slot) rows.push_back(row);
  add_foreign_rows(index, rows);
  if (instance != kNoInstance) {
    std::erase_if(rows, [&](const Row& row) { return row.instance != instance; });
  }
  return rows;
}

/// Rows of all instances of a card in MIG mode are for root only.
bool may_list(unsigned index, std::uint32_t instance) {
  return instance != kNoInstance || device_entry(index).instances == 0 || has_rights();
}

/// @param stride  bytes per element: 16, 24 or 32, all with the same beginning
Return put_rows(const std::vector<Row>& rows, unsigned stride, unsigned* count, void* out) {
  if (count == nullptr) return kInvalidArgument;
  const auto needed = static_cast<unsigned>(rows.size());
  if (needed > *count || (out == nullptr && needed > 0)) {
    *count = needed;
    return kInsufficientSize;
  }
  *count = needed;
  if (out == nullptr) return kSuccess;
  const bool hidden = (session().state().header.flags.load() & kHideMemory) != 0;
  auto* at = static_cast<char*>(out);
  for (const Row& row : rows) {
    ProcessDetail detail = {};
    detail.pid = static_cast<std::uint32_t>(row.pid);
    detail.memory = hidden ? kNever : row.memory;  // all ones: not available
    detail.gpu_instance = gpu_instance_id(row.instance);
    detail.compute_instance = row.instance == kNoInstance ? kNoInstance : 0;
    std::memcpy(at, &detail, stride);
    at += stride;
  }
  return kSuccess;
}

Return list(const char* function, Handle* device, Kind kind, unsigned stride, unsigned* count,
            void* out) {
  unsigned index = 0;
  std::uint32_t instance = kNoInstance;
  if (const Return code = enter(function, device, index, instance); code != 0) return code;
  if (!may_list(index, instance)) return kNoPermission;
  return put_rows(rows_of(index, instance, kind), stride, count, out);
}

Return list_v3(const char* function, Handle* device, Kind kind, unsigned* count, void* out) {
  if (const Return code = enter(function); code != 0) return code;
  const Header& header = session().state().header;
  if ((header.flags.load() & kWithholdV3) != 0) return kFunctionNotFound;
  return list(function, device, kind, header.stride.load(), count, out);
}

}  // namespace
}  // namespace gpuward::gpusim::nvml

using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

#define GPUSIM_NVML_LISTS(name, kind)                                  \
  GPUSIM_NVML name##_v3(Handle* device, unsigned* count, void* rows) { \
    return list_v3(#name "_v3", device, kind, count, rows);            \
  }                                                                    \
  GPUSIM_NVML name##_v2(Handle* device, unsigned* count, void* rows) { \
    return list(#name "_v2", device, kind, 24, count, rows);           \
  }                                                                    \
  GPUSIM_NVML name(Handle* device, unsigned* count, void* rows) {      \
    return list(#name, device, kind, 16, count, rows);                 \
  }
GPUSIM_NVML_LISTS(nvmlDeviceGetComputeRunningProcesses, Kind::kCompute)
GPUSIM_NVML_LISTS(nvmlDeviceGetGraphicsRunningProcesses, Kind::kGraphics)
GPUSIM_NVML_LISTS(nvmlDeviceGetMPSComputeRunningProcesses, Kind::kMps)

GPUSIM_NVML nvmlDeviceGetRunningProcessDetailList(Handle* device, ProcessDetailList* out) {
  GPUSIM_NVML_INSTANCE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kListTag) return kArgumentVersionMismatch;
  if (!may_list(index, instance)) return kNoPermission;
  // Drivers that mix up the stride are older than this call.
  if (session().state().header.stride.load() != 24) return nvml::kNotSupported;
  std::vector<Row> rows;
  const auto add = [&](Kind kind) {
    const auto more = rows_of(index, instance, kind);
    rows.insert(rows.end(), more.begin(), more.end());
  };
  if (out->mode == 0 || out->mode == 3) add(Kind::kCompute);
  if (out->mode == 2 || out->mode == 3) add(Kind::kMps);
  return put_rows(rows, sizeof(ProcessDetail), &out->entries, out->rows);
}

namespace {

// Complete sampling periods that make up the window of a process's share.
constexpr unsigned kShareBins = 6;

struct Share {
  unsigned pid;
  std::uint64_t timestamp;
  unsigned sm;
};

/// Processes that ran in the window and after @p last_seen (civil us).
std::vector<Share> shares_of(unsigned index, std::uint64_t last_seen) {
  // Whoever has gone since is not found in the card below: this only saves asking for each again.
  const auto live = session().sweep_recent(index, 500'000'000);
  const std::int64_t offset = civil_offset_us();
  std::map<pid_t, Share> by_pid;
  session().look(index, [&](const DeviceValue& device) {
    const auto end = static_cast<std::uint64_t>(
        static_cast<std::int64_t>(device.last_bin * device.bin_ns / 1000) + offset);
    if (end <= last_seen) return 0;
    for (const LiveRow& row : live) {
      const ContextValue& own = row.context;
      const auto at = find_context(device, own.slot, own.generation, own.id);
      if (row.pid <= 0 || at == device.context_count) continue;
      const unsigned busy = busy_percent(device, device.contexts[at], kShareBins);
      if (busy == 0) continue;
      Share& share = by_pid[row.pid];
      share.pid = static_cast<unsigned>(row.pid);
      share.timestamp = end;
      share.sm = std::min(100U, share.sm + busy);
    }
    return 0;
  });
  std::vector<Share> shares;
  shares.reserve(by_pid.size());
  for (const auto& [pid, share] : by_pid) shares.push_back(share);
  return shares;
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetProcessUtilization(Handle* device, ProcessUtilization* out,
                                            unsigned* count, std::uint64_t last_seen) {
  GPUSIM_NVML_DEVICE(device);
  if (count == nullptr) return kInvalidArgument;
  if (device_entry(index).instances > 0) return nvml::kNotSupported;
  const auto shares = shares_of(index, last_seen);
  const auto needed = static_cast<unsigned>(shares.size());
  if (out == nullptr || *count < needed) {
    // Asked for the size, the real library names what its buffer can hold, also while all is idle.
    *count = std::max(needed, 1U);
    return out == nullptr || needed > 0 ? kInsufficientSize : nvml::kNotFound;
  }
  *count = needed;
  for (unsigned i = 0; i < needed; ++i) {
    out[i] = {shares[i].pid, shares[i].timestamp, shares[i].sm, shares[i].sm / 2, 0, 0};
  }
  return needed == 0 ? nvml::kNotFound : nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetProcessesUtilizationInfo(Handle* device, ProcessesUtilization* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kListTag) return kArgumentVersionMismatch;
  if (device_entry(index).instances > 0) return nvml::kNotSupported;
  const auto shares = shares_of(index, out->last_seen);
  const auto needed = static_cast<unsigned>(shares.size());
  if (needed == 0) {
    out->count = 0;
    return nvml::kNotFound;
  }
  if (out->rows == nullptr || out->count < needed) {
    out->count = needed;
    return kInsufficientSize;
  }
  out->count = needed;
  for (unsigned i = 0; i < needed; ++i) {
    const Share& share = shares[i];
    out->rows[i] = {share.timestamp, share.pid, share.sm, share.sm / 2, 0, 0, 0, 0};
  }
  return nvml::kSuccess;
}
