#include "gpu/busy.h"

#include <algorithm>

#include "gpu/fields.h"
#include "os/clock.h"

namespace gpuward::gpu {
namespace {

// How far back a process counts as busy, and a card at the first look.
constexpr std::uint64_t kWindowUs = 1'000'000;
// A driver that has had no new sample for so long is asked for its own idea of "now" instead.
constexpr std::int64_t kOldestSample = 5'000'000'000;
constexpr std::uint32_t kMostSamples = 1 << 12;
constexpr std::uint32_t kMostShares = 1 << 16;

std::uint64_t civil_us() {
  return static_cast<std::uint64_t>(os::wall_now().time_since_epoch() /
                                    std::chrono::microseconds(1));
}

/// nullopt: neither this form nor its answer is to be had.
std::optional<std::vector<Share>> new_shares(const Caller& caller, std::uint64_t since_us,
                                             abi::Code& code) {
  std::vector<abi::ProcessUtilizationInfo> room(128);
  for (int attempt = 0; attempt < 3; ++attempt) {
    abi::ProcessesUtilization list{abi::version_tag<abi::ProcessesUtilization>(1),
                                   static_cast<std::uint32_t>(room.size()), since_us, room.data()};
    code = caller(caller.library.processes_utilization, &list);
    if (code == abi::kNotFound) return std::vector<Share>();
    if (code == abi::kSuccess) {
      room.resize(std::min<std::size_t>(list.count, room.size()));
      std::vector<Share> shares;
      shares.reserve(room.size());
      for (const auto& row : room) shares.push_back({row.pid, row.time_us, row.sm, row.memory});
      return shares;
    }
    if (code != abi::kInsufficientSize || list.count > kMostShares) return std::nullopt;
    room.resize(list.count * 2 + 8);
  }
  return std::nullopt;
}

std::optional<std::vector<Share>> old_shares(const Caller& caller, std::uint64_t since_us,
                                             abi::Code& code) {
  if (!caller.library.process_utilization) return std::nullopt;
  std::vector<abi::ProcessUtilization> room(128);
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto count = static_cast<std::uint32_t>(room.size());
    code = caller(caller.library.process_utilization, room.data(), &count, since_us);
    if (code == abi::kNotFound) return std::vector<Share>();
    if (code == abi::kSuccess) {
      room.resize(std::min<std::size_t>(count, room.size()));
      std::vector<Share> shares;
      shares.reserve(room.size());
      for (const auto& row : room) shares.push_back({row.pid, row.time_us, row.sm, row.memory});
      return shares;
    }
    if (code != abi::kInsufficientSize || count > kMostShares) return std::nullopt;
    room.resize(count * 2 + 8);
  }
  return std::nullopt;
}

}  // namespace

std::optional<SampleMean> mean_of(std::span<const abi::Sample> samples, std::int32_t type,
                                  std::uint64_t since_us) {
  std::uint64_t sum = 0;
  std::uint64_t count = 0;
  SampleMean mean;
  for (const abi::Sample& sample : samples) {
    const std::uint64_t value = number_in(sample.value, type);
    if (sample.time_us <= since_us || value > 100) continue;
    sum += value, ++count;
    mean.newest_us = std::max(mean.newest_us, sample.time_us);
  }
  if (count == 0) return std::nullopt;
  mean.percent = static_cast<std::uint32_t>((sum + count / 2) / count);
  return mean;
}

bool SampleReader::read(const Caller& caller, Reading<std::uint32_t>& into) {
  const auto& function = caller.library.samples;
  if (absent_ || !function) return false;
  std::int32_t type = abi::kU32;
  if (room_.empty()) {
    std::uint32_t count = 0;  // how many the driver keeps, at most
    const abi::Code code = caller(function, type_, std::uint64_t{0}, &type, &count, nullptr);
    absent_ = answer_of(code) == Answer::not_supported;
    if (code != abi::kSuccess || count == 0) return false;
    room_.resize(std::min(count, kMostSamples));
    // A clock that was set back must not silence the card for as long as it was.
    seen_us_ = civil_us() - kWindowUs;
  }
  seen_us_ = std::min(seen_us_, civil_us());
  auto count = static_cast<std::uint32_t>(room_.size());
  const abi::Code code = caller(function, type_, seen_us_, &type, &count, room_.data());
  const bool recent = caller.now_ns - sampled_ns_ < kOldestSample;
  if (code == abi::kNotFound) return recent;
  if (code != abi::kSuccess) {
    into = Reading<std::uint32_t>::none(answer_of(code), caller.now_ns);
    return answer_of(code) != Answer::not_supported;
  }
  const auto read = std::span(room_).first(std::min<std::size_t>(count, room_.size()));
  if (const auto mean = mean_of(read, type, seen_us_)) {
    into = {mean->percent, caller.now_ns};
    seen_us_ = mean->newest_us;
    sampled_ns_ = caller.now_ns;
    return true;
  }
  return recent;
}

std::vector<Share> newest_shares(std::vector<Share> shares) {
  std::erase_if(shares, [](const Share& share) { return share.sm > 100 || share.memory > 100; });
  std::ranges::sort(shares, [](const Share& a, const Share& b) {
    return a.pid != b.pid ? a.pid < b.pid : a.time_us > b.time_us;
  });
  const auto rest = std::ranges::unique(shares, {}, &Share::pid);
  shares.erase(rest.begin(), rest.end());
  return shares;
}

void read_shares(const Caller& caller, std::vector<GpuProcess>& processes) {
  if (processes.empty()) return;
  const std::uint64_t since_us = civil_us() - kWindowUs;
  abi::Code code = abi::kSuccess;
  auto shares = new_shares(caller, since_us, code);
  if (!shares) shares = old_shares(caller, since_us, code);
  if (shares) shares = newest_shares(*std::move(shares));
  for (GpuProcess& process : processes) {
    if (!shares) {
      process.sm_percent = process.memory_percent =
          Reading<std::uint32_t>::none(answer_of(code), caller.now_ns);
      continue;
    }
    const auto found = std::ranges::lower_bound(*shares, process.pid, {}, &Share::pid);
    const bool busy = found != shares->end() && found->pid == process.pid;
    process.sm_percent = {busy ? found->sm : 0, caller.now_ns};
    process.memory_percent = {busy ? found->memory : 0, caller.now_ns};
  }
}

}  // namespace gpuward::gpu
