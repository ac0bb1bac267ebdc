#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gpu/nvml_abi.h"
#include "gpu/rows.h"
#include "os/clock.h"

namespace gpuward::gpu {

/// Which call of the driver is under way, and since when. Written by the thread that calls, read by
/// any: what a reader gets of a call that ends meanwhile may be mixed with the next one's, never
/// that of one that goes on.
class CallMark {
 public:
  struct Call {
    const char* name = nullptr;      ///< null: none is under way. Lives as long as the program.
    int device = -1;                 ///< -1: about no card
    Instant since = Instant::max();  ///< its begin; where none is, the end of the last
  };
  Call get() const {
    return {name_.load(std::memory_order_acquire), device_.load(std::memory_order_relaxed),
            Instant(Duration(since_.load(std::memory_order_relaxed)))};
  }
  void begin(const char* name, int device) {
    device_.store(device, std::memory_order_relaxed);
    since_.store(os::now().time_since_epoch().count(), std::memory_order_relaxed);
    name_.store(name, std::memory_order_release);
  }
  void end() {
    since_.store(os::now().time_since_epoch().count(), std::memory_order_relaxed);
    name_.store(nullptr, std::memory_order_release);
  }

 private:
  std::atomic<const char*> name_{nullptr};
  std::atomic<int> device_{-1};
  std::atomic<Duration::rep> since_{0};
};

/// What else runs in the driver, in a CallMark.
inline constexpr const char* kOpensDevice = "the open of the device file";
inline constexpr const char* kReadsVersion = "the read of /proc/driver/nvidia/version";

/// A function of the driver's library, or its absence.
template <class Fn>
struct Symbol {
  const char* name;
  Fn* address = nullptr;

  explicit operator bool() const { return address != nullptr; }
  /// Calls it with @p mark set meanwhile. 13 (function not found) when it is absent.
  template <class... Args>
  abi::Code operator()(CallMark& mark, int device, Args... args) const {
    if (address == nullptr) return abi::kFunctionNotFound;
    mark.begin(name, device);
    const abi::Code code = address(std::forward<Args>(args)...);
    mark.end();
    return code;
  }
};

/// The driver's library: only what it exports, never unloaded. Names without a suffix are the
/// oldest form and are not fallen back to.
struct Library {
  Symbol<abi::InitFn> init{"nvmlInit_v2"};
  Symbol<abi::ErrorStringFn> error_string{"nvmlErrorString"};
  Symbol<abi::SystemTextFn> driver_version{"nvmlSystemGetDriverVersion"};
  Symbol<abi::CountFn> count{"nvmlDeviceGetCount_v2"};
  Symbol<abi::HandleFn> handle{"nvmlDeviceGetHandleByIndex_v2"};
  Symbol<abi::DeviceTextFn> uuid{"nvmlDeviceGetUUID"};
  Symbol<abi::DeviceTextFn> name{"nvmlDeviceGetName"};
  Symbol<abi::MemoryFn> memory{"nvmlDeviceGetMemoryInfo"};
  Symbol<abi::MemoryV2Fn> memory_v2{"nvmlDeviceGetMemoryInfo_v2"};
  Symbol<abi::UtilizationFn> utilization{"nvmlDeviceGetUtilizationRates"};
  Symbol<abi::DetailListFn> detail_list{"nvmlDeviceGetRunningProcessDetailList"};
  Symbol<abi::ProcessUtilizationFn> process_utilization{"nvmlDeviceGetProcessUtilization"};
  Symbol<abi::ProcessesUtilizationFn> processes_utilization{
      "nvmlDeviceGetProcessesUtilizationInfo"};
  Symbol<abi::SamplesFn> samples{"nvmlDeviceGetSamples"};
  Symbol<abi::FieldsFn> fields{"nvmlDeviceGetFieldValues"};
  Symbol<abi::SelectedU32Fn> temperature{"nvmlDeviceGetTemperature"};
  Symbol<abi::SelectedU32Fn> threshold{"nvmlDeviceGetTemperatureThreshold"};
  Symbol<abi::SelectedU32Fn> clock{"nvmlDeviceGetClockInfo"};
  Symbol<abi::SelectedU32Fn> clock_max{"nvmlDeviceGetMaxClockInfo"};
  Symbol<abi::U32Fn> power{"nvmlDeviceGetPowerUsage"};
  Symbol<abi::U32Fn> power_limit{"nvmlDeviceGetEnforcedPowerLimit"};
  Symbol<abi::U64Fn> energy{"nvmlDeviceGetTotalEnergyConsumption"};
  Symbol<abi::U64Fn> reasons{"nvmlDeviceGetCurrentClocksEventReasons"};
  Symbol<abi::U64Fn> reasons_before_535{"nvmlDeviceGetCurrentClocksThrottleReasons"};
  Symbol<abi::EccTotalFn> ecc_total{"nvmlDeviceGetTotalEccErrors"};
  Symbol<abi::RemappedRowsFn> remapped_rows{"nvmlDeviceGetRemappedRows"};
  Symbol<abi::SramFn> sram{"nvmlDeviceGetSramEccErrorStatus"};
  Symbol<abi::U32Fn> link_generation{"nvmlDeviceGetCurrPcieLinkGeneration"};
  Symbol<abi::U32Fn> link_generation_max{"nvmlDeviceGetMaxPcieLinkGeneration"};
  Symbol<abi::U32Fn> link_width{"nvmlDeviceGetCurrPcieLinkWidth"};
  Symbol<abi::U32Fn> link_width_max{"nvmlDeviceGetMaxPcieLinkWidth"};
  Symbol<abi::PciInfoFn> pci{"nvmlDeviceGetPciInfo_v3"};
  Symbol<abi::U32Fn> minor{"nvmlDeviceGetMinorNumber"};
  Symbol<abi::U32Fn> architecture{"nvmlDeviceGetArchitecture"};
  Symbol<abi::TwoIntsFn> capability{"nvmlDeviceGetCudaComputeCapability"};
  Symbol<abi::IntFn> persistence{"nvmlDeviceGetPersistenceMode"};
  Symbol<abi::IntFn> compute_mode{"nvmlDeviceGetComputeMode"};
  Symbol<abi::TwoIntsFn> ecc_mode{"nvmlDeviceGetEccMode"};
  Symbol<abi::AncestorFn> ancestor{"nvmlDeviceGetTopologyCommonAncestor"};
  Symbol<abi::IntFn> accounting_mode{"nvmlDeviceGetAccountingMode"};
  Symbol<abi::AccountingStatsFn> accounting_stats{"nvmlDeviceGetAccountingStats"};
  Symbol<abi::TwoU32Fn> mig_mode{"nvmlDeviceGetMigMode"};
  Symbol<abi::U32Fn> mig_most{"nvmlDeviceGetMaxMigDeviceCount"};
  Symbol<abi::MigHandleFn> mig_handle{"nvmlDeviceGetMigDeviceHandleByIndex"};
  Symbol<abi::U32Fn> gpu_instance{"nvmlDeviceGetGpuInstanceId"};
  Symbol<abi::U32Fn> compute_instance{"nvmlDeviceGetComputeInstanceId"};
  Symbol<abi::AttributesFn> attributes{"nvmlDeviceGetAttributes_v2"};
  Symbol<abi::GpmSupportFn> gpm_support{"nvmlGpmQueryDeviceSupport"};
  Symbol<abi::GpmAllocFn> gpm_alloc{"nvmlGpmSampleAlloc"};
  Symbol<abi::GpmSampleFn> gpm_sample{"nvmlGpmSampleGet"};
  Symbol<abi::GpmMetricsFn> gpm_metrics{"nvmlGpmMetricsGet"};
  Symbol<abi::EventSetCreateFn> event_set{"nvmlEventSetCreate"};
  Symbol<abi::EventSetFreeFn> event_set_free{"nvmlEventSetFree"};
  Symbol<abi::U64Fn> event_types{"nvmlDeviceGetSupportedEventTypes"};
  Symbol<abi::RegisterEventsFn> register_events{"nvmlDeviceRegisterEvents"};
  Symbol<abi::EventWaitFn> event_wait{"nvmlEventSetWait_v2"};
  Symbol<abi::ProcessesFn> conf_compute{"nvmlDeviceGetConfComputeMemSizeInfo"};  // never called
  /// By kind (abi::ListMode), newest form first.
  struct Lists {
    Symbol<abi::ProcessesFn> v3;
    Symbol<abi::ProcessesFn> v2;
  };
  Lists lists[3] = {
      {{"nvmlDeviceGetComputeRunningProcesses_v3"}, {"nvmlDeviceGetComputeRunningProcesses_v2"}},
      {{"nvmlDeviceGetGraphicsRunningProcesses_v3"}, {"nvmlDeviceGetGraphicsRunningProcesses_v2"}},
      {{"nvmlDeviceGetMPSComputeRunningProcesses_v3"},
       {"nvmlDeviceGetMPSComputeRunningProcesses_v2"}}};

  /// Loads @p path. @return empty, or why not: the loader's own words, or the function that is
  /// missing.
  std::string load(const std::string& path);

  /// All rows of one kind on a card; nullopt when the driver does not give them out.
  /// @param mode  abi::kAll needs the detail list, which older drivers lack.
  /// @param room  for so many rows is offered first; grows, so that the next look needs one call
  /// @param code  when not null, gets what the driver said last
  std::optional<std::vector<RawRow>> rows(CallMark& mark, int index, abi::Device device,
                                          abi::ListMode mode, std::uint32_t& room,
                                          abi::Code* code = nullptr) const;
  /// "nvmlInit_v2: code 18, ...": the driver's own words where it has some.
  std::string explain(const char* call, abi::Code code) const;

 private:
  void find_all(void* handle);
  std::optional<std::vector<RawRow>> detailed_rows(CallMark& mark, int index, abi::Device device,
                                                   abi::ListMode mode, std::uint32_t& room,
                                                   abi::Code& code) const;
  std::optional<std::vector<RawRow>> plain_rows(CallMark& mark, int index, abi::Device device,
                                                const Symbol<abi::ProcessesFn>& list, int version,
                                                std::uint32_t& room, abi::Code& code) const;
};

}  // namespace gpuward::gpu
