#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gpu/nvml_abi.h"
#include "gpu/rows.h"

namespace gpuward::gpu {

/// Which call of the driver is under way. Written by the thread that calls, read by any.
class CallMark {
 public:
  struct Call {
    const char* name = nullptr;  ///< null: none. Lives as long as the program.
    int device = -1;             ///< -1: about no card
  };
  Call get() const {
    return {name_.load(std::memory_order_acquire), device_.load(std::memory_order_relaxed)};
  }
  void begin(const char* name, int device) {
    device_.store(device, std::memory_order_relaxed);
    name_.store(name, std::memory_order_release);
  }
  void end() { name_.store(nullptr, std::memory_order_release); }

 private:
  std::atomic<const char*> name_{nullptr};
  std::atomic<int> device_{-1};
};

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
  std::optional<std::vector<RawRow>> rows(CallMark& mark, int index, abi::Device device,
                                          abi::ListMode mode) const;

 private:
  std::optional<std::vector<RawRow>> detailed_rows(CallMark& mark, int index, abi::Device device,
                                                   abi::ListMode mode) const;
  std::optional<std::vector<RawRow>> plain_rows(CallMark& mark, int index, abi::Device device,
                                                const Symbol<abi::ProcessesFn>& list,
                                                int version) const;
};

}  // namespace gpuward::gpu
