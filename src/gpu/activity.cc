#include "gpu/activity.h"

#include <cmath>

namespace gpuward::gpu {
namespace {

struct Metric {
  Reading<double> GpuActivity::* reading;
  std::uint32_t id;
  bool of_switching = false;
};

constexpr Metric kMetrics[] = {
    {&GpuActivity::engine_percent, 1},
    {&GpuActivity::sm_percent, 2},
    {&GpuActivity::occupancy_percent, 3},
    {&GpuActivity::tensor_percent, 5},
    {&GpuActivity::dram_percent, 10},
    {&GpuActivity::pcie_tx_mib_per_second, 20},
    {&GpuActivity::pcie_rx_mib_per_second, 21},
    {&GpuActivity::switch_elapsed_cycles, 170, true},
    {&GpuActivity::switch_active_cycles, 171, true},
    {&GpuActivity::switch_requests, 172, true},
    {&GpuActivity::switch_cycles_per_request, 173, true},
    {&GpuActivity::switch_active_percent, 174, true},
};
static_assert(std::size(kMetrics) <= abi::GpmMetrics::kRoom);

void say_none(const Caller& caller, Answer why, GpuActivity& activity) {
  for (const Metric& metric : kMetrics)
    activity.*metric.reading = Reading<double>::none(why, caller.now_ns);
}

}  // namespace

bool ActivityReader::prepare(const Caller& caller, GpuActivity& activity) {
  if (support_ != Support::unknown) return support_ == Support::yes;
  abi::GpmSupport answer{.version = 1, .supported = 0};
  const abi::Code code = caller(caller.library.gpm_support, &answer);
  const bool offered = code == abi::kSuccess && answer.supported != 0;
  const Answer why = code == abi::kSuccess ? Answer::not_supported : answer_of(code);
  if (!offered) {
    say_none(caller, why, activity);
    if (why == Answer::not_supported) support_ = Support::no;
    return false;
  }
  const auto& alloc = caller.library.gpm_alloc;
  if ((older_ == nullptr && alloc(caller.mark, caller.index, &older_) != abi::kSuccess) ||
      (newer_ == nullptr && alloc(caller.mark, caller.index, &newer_) != abi::kSuccess)) {
    say_none(caller, Answer::failed, activity);
    return false;
  }
  support_ = Support::yes;
  return true;
}

void ActivityReader::read(const Caller& caller, bool switching, GpuActivity& activity) {
  if (!prepare(caller, activity)) return;
  if (taken_ns_ != 0 && caller.now_ns - taken_ns_ < kApart) return;
  if (const auto code = caller(caller.library.gpm_sample, newer_); code != abi::kSuccess) {
    say_none(caller, answer_of(code), activity);
    taken_ns_ = 0;
    return;
  }
  if (taken_ns_ == 0) {
    say_none(caller, Answer::not_yet, activity);
  } else {
    abi::GpmMetrics metrics{};
    metrics.version = 1, metrics.older = older_, metrics.newer = newer_;
    const Metric* asked[std::size(kMetrics)];
    for (const Metric& metric : kMetrics) {
      if ((metric.of_switching && !switching) ||
          (activity.*metric.reading).answer == Answer::not_supported)
        continue;
      asked[metrics.count] = &metric;
      metrics.metrics[metrics.count++].id = metric.id;
    }
    const abi::Code all = caller.library.gpm_metrics(caller.mark, caller.index, &metrics);
    for (std::uint32_t n = 0; n < metrics.count && n < std::size(asked); ++n) {
      const abi::GpmMetric& got = metrics.metrics[n];
      abi::Code code = all != abi::kSuccess ? all : got.code;
      // An id that this driver does not know.
      if (all == abi::kSuccess && code == abi::kInvalidArgument) code = abi::kNotSupported;
      activity.*asked[n]->reading = code == abi::kSuccess && !std::isfinite(got.value)
                                        ? Reading<double>::none(Answer::failed, caller.now_ns)
                                        : caller.reading(code, got.value);
    }
  }
  std::swap(older_, newer_);
  taken_ns_ = caller.now_ns;
}

}  // namespace gpuward::gpu
