#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "nvml/library.h"

/// Who uses a card: process lists, their share of the time, and what ended processes have used.
namespace gpuward::gpusim::nvml {
namespace {

enum class Kind { kCompute, kGraphics, kMps };

struct Row {
  std::uint64_t pid;
  std::uint64_t memory;
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
      found.push_back({__atomic_load_n(&from[i].pid, __ATOMIC_RELAXED),
                       __atomic_load_n(&from[i].memory_bytes, __ATOMIC_RELAXED)});
    }
    if (device.foreign_head.load(std::memory_order_acquire) != head) continue;
    rows.insert(rows.end(), found.begin(), found.end());
    return;
  }
}

/// One row per process, as seen from this PID namespace; who is not visible from here is left out,
/// as newer drivers do.
std::vector<Row> rows_of(unsigned index, Kind kind) {
  const auto live = session().sweep(index);
  const bool mps = session().look(index, [](const DeviceValue& device) { return device.mps != 0; });
  std::vector<Row> rows;
  if (kind == Kind::kGraphics || (kind == Kind::kMps) != mps) return rows;
  std::map<std::uint32_t, Row> by_slot;
  for (const LiveRow& row : live) {
    if (row.pid <= 0) continue;
    Row& sum = by_slot[row.context.slot];
    sum.pid = static_cast<std::uint64_t>(row.pid);
    sum.memory += row.context.memory_bytes;
  }
  for (const auto& [slot, row] : by_slot) rows.push_back(row);
  add_foreign_rows(index, rows);
  return rows;
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
  auto* at = static_cast<char*>(out);
  for (const Row& row : rows) {
    ProcessDetail detail = {};
    detail.pid = static_cast<std::uint32_t>(row.pid);
    detail.memory = row.memory;
    detail.gpu_instance = detail.compute_instance = 0xffffffff;
    std::memcpy(at, &detail, stride);
    at += stride;
  }
  return kSuccess;
}

Return list(const char* function, Handle* device, Kind kind, unsigned stride, unsigned* count,
            void* out) {
  unsigned index = 0;
  if (const Return code = enter(function, device, index); code != 0) return code;
  return put_rows(rows_of(index, kind), stride, count, out);
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
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if (out->version != kListTag) return kArgumentVersionMismatch;
  // Drivers that mix up the stride are older than this call.
  if (session().state().header.stride.load() != 24) return nvml::kNotSupported;
  std::vector<Row> rows;
  const auto add = [&](Kind kind) {
    const auto more = rows_of(index, kind);
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
  const auto live = session().sweep(index);
  const std::int64_t offset = civil_offset_us();
  std::map<pid_t, Share> by_pid;
  for (const LiveRow& row : live) {
    if (row.pid <= 0) continue;
    session().look(index, [&](const DeviceValue& device) {
      const ContextValue& own = row.context;
      const auto at = find_context(device, own.slot, own.generation, own.id);
      if (at == device.context_count) return 0;
      const unsigned percent = busy_percent(device, device.contexts[at], kShareBins);
      const auto end = static_cast<std::int64_t>(device.last_bin * device.bin_ns / 1000) + offset;
      if (percent == 0 || static_cast<std::uint64_t>(end) <= last_seen) return 0;
      Share& share = by_pid[row.pid];
      share.pid = static_cast<unsigned>(row.pid);
      share.timestamp = static_cast<std::uint64_t>(end);
      share.sm = std::min(100U, share.sm + percent);
      return 0;
    });
  }
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

GPUSIM_NVML nvmlDeviceGetAccountingMode(Handle* device, int* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  *out = (device_entry(index).flags.load() & kAccounting) != 0 ? 1 : 0;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceSetAccountingMode(Handle* device, int mode) {
  GPUSIM_NVML_DEVICE(device);
  if (::geteuid() != 0) return kNoPermission;
  std::atomic<std::uint32_t>& flags = session().state().devices[index].flags;
  if (mode != 0) {
    flags.fetch_or(kAccounting);
  } else {
    flags.fetch_and(~kAccounting);
  }
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetAccountingBufferSize(Handle* device, unsigned* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  *out = kMaxAccounted;
  return nvml::kSuccess;
}

namespace {

struct Account {
  std::uint64_t number = 0;
  std::uint64_t pid = 0, started_at = 0, ended_at = 0, busy_ns = 0, peak_bytes = 0;
};

/// The complete entries, oldest first.
std::vector<Account> accounts_of(unsigned index) {
  session().sweep(index);
  const std::uint64_t end =
      session().look(index, [](const DeviceValue& device) { return device.accounted; });
  std::vector<Account> found;
  for (std::uint64_t n = end > kMaxAccounted ? end - kMaxAccounted : 0; n < end; ++n) {
    const AccountingEntry& entry = session().state().accounting[index][n % kMaxAccounted];
    if (entry.number.load() != n) continue;
    const Account account = {n,
                             entry.pid.load(),
                             entry.started_at.load(),
                             entry.ended_at.load(),
                             entry.busy_ns.load(),
                             entry.peak_bytes.load()};
    if (entry.number.load() == n) found.push_back(account);
  }
  return found;
}

std::uint64_t civil_us(std::uint64_t monotonic) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(monotonic / 1000) +
                                    civil_offset_us());
}

unsigned percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<unsigned>(std::min<std::uint64_t>(100, part * 100 / whole));
}

bool find_running(unsigned index, unsigned pid, AccountingStats& stats) {
  const std::uint64_t now = monotonic_ns();
  for (const LiveRow& row : session().sweep(index)) {
    if (static_cast<unsigned>(row.pid) != pid) continue;
    const ContextValue& context = row.context;
    stats.gpu_percent = percent(context.busy_ns, now - context.created_at);
    stats.memory_percent = stats.gpu_percent / 2;
    stats.peak_bytes = context.peak_bytes;
    stats.start_us = civil_us(context.created_at);
    stats.running = 1;
    return true;
  }
  return false;
}

}  // namespace

GPUSIM_NVML nvmlDeviceGetAccountingPids(Handle* device, unsigned* count, unsigned* pids) {
  GPUSIM_NVML_DEVICE(device);
  if (count == nullptr) return kInvalidArgument;
  if ((device_entry(index).flags.load() & kAccounting) == 0) return nvml::kNotSupported;
  std::vector<unsigned> found;
  for (const Account& account : accounts_of(index)) {
    found.push_back(static_cast<unsigned>(account.pid));
  }
  for (const LiveRow& row : session().sweep(index)) {
    if (row.pid > 0) found.push_back(static_cast<unsigned>(row.pid));
  }
  const auto needed = static_cast<unsigned>(found.size());
  if (needed > *count || (pids == nullptr && needed > 0)) {
    *count = needed;
    return kInsufficientSize;
  }
  *count = needed;
  std::copy(found.begin(), found.end(), pids);
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetAccountingStats(Handle* device, unsigned pid, AccountingStats* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  if ((device_entry(index).flags.load() & kAccounting) == 0) return nvml::kNotSupported;
  *out = {};
  if (find_running(index, pid, *out)) return nvml::kSuccess;
  bool found = false;
  for (const Account& account : accounts_of(index)) {
    if (account.pid != pid) continue;
    const std::uint64_t lifetime = account.ended_at - account.started_at;
    out->gpu_percent = percent(account.busy_ns, lifetime);
    out->memory_percent = out->gpu_percent / 2;
    out->peak_bytes = account.peak_bytes;
    out->time_ms = lifetime / 1'000'000;
    out->start_us = civil_us(account.started_at);
    found = true;
  }
  return found ? nvml::kSuccess : nvml::kNotFound;
}
