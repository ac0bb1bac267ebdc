#include <algorithm>
#include <optional>
#include <vector>

#include "nvml/library.h"

/// What processes have used, also after their end.
using namespace gpuward::gpusim;
using namespace gpuward::gpusim::nvml;

GPUSIM_NVML nvmlDeviceGetAccountingMode(Handle* device, int* out) {
  GPUSIM_NVML_DEVICE(device);
  if (out == nullptr) return kInvalidArgument;
  *out = (device_entry(index).flags.load() & kAccounting) != 0 ? 1 : 0;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceSetAccountingMode(Handle* device, int mode) {
  GPUSIM_NVML_DEVICE(device);
  if (!has_rights()) return kNoPermission;
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

/// What is known of a process that runs, else of the last one of that number that has ended.
std::optional<AccountingStatsV2> stats_of(unsigned index, unsigned pid) {
  const std::uint64_t now = monotonic_ns();
  const std::uint64_t period =
      session().look(index, [](const DeviceValue& device) { return device.bin_ns; });
  std::optional<Account> found;
  bool running = false;
  for (const LiveRow& row : session().sweep(index)) {
    if (static_cast<unsigned>(row.pid) != pid) continue;
    const ContextValue& context = row.context;
    found = {0, pid, context.created_at, now, context.busy_ns, context.peak_bytes};
    running = true;
  }
  if (!running) {
    for (const Account& account : accounts_of(index)) {
      if (account.pid == pid) found = account;
    }
  }
  if (!found) return std::nullopt;
  const std::uint64_t lifetime = found->ended_at - found->started_at;
  AccountingStatsV2 stats = {};
  stats.pid = pid;
  stats.running = running ? 1 : 0;
  stats.gpu_percent = percent(found->busy_ns, lifetime);
  stats.memory_percent = stats.gpu_percent / 2;
  stats.peak_bytes = found->peak_bytes;
  stats.samples = static_cast<std::uint32_t>(lifetime / period);
  stats.sum_gpu_percent = found->busy_ns * 100 / period;
  stats.sum_memory_percent = stats.sum_gpu_percent / 2;
  stats.time_ms = running ? 0 : lifetime / 1'000'000;
  stats.start_us = civil_us(found->started_at);
  return stats;
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
  const auto stats = stats_of(index, pid);
  if (!stats) return nvml::kNotFound;
  *out = {stats->gpu_percent,
          stats->memory_percent,
          stats->peak_bytes,
          stats->time_ms,
          stats->start_us,
          stats->running,
          {}};
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceGetAccountingStats_v2(Handle* device, AccountingStatsV2* inout) {
  GPUSIM_NVML_DEVICE(device);
  if (inout == nullptr) return kInvalidArgument;
  if ((device_entry(index).flags.load() & kAccounting) == 0) return nvml::kNotSupported;
  const auto stats = stats_of(index, inout->pid);
  if (!stats) return nvml::kNotFound;
  *inout = *stats;
  return nvml::kSuccess;
}

GPUSIM_NVML nvmlDeviceClearAccountingPids(Handle* device) {
  GPUSIM_NVML_DEVICE(device);
  if (!has_rights()) return kNoPermission;
  if ((device_entry(index).flags.load() & kAccounting) == 0) return nvml::kNotSupported;
  for (AccountingEntry& entry : session().state().accounting[index]) entry.number.store(kNever);
  return nvml::kSuccess;
}
