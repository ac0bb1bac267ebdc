#pragma once

#include <string>

#include "base/units.h"
#include "control/home.h"
#include "domain/doctor.h"
#include "domain/doctor_gpu.h"

// What `gpuward doctor` looks at: reads only, asks nobody to change anything, and gives up on
// whatever does not answer. Files of the machine are read below $GPUWARD_DOCTOR_ROOT, so that tests
// can show it another machine; what the kernel lets this process do is always this kernel's.

namespace gpuward::cli {

/// "" or $GPUWARD_DOCTOR_ROOT.
std::string doctor_root();

KernelFacts look_at_kernel();
/// Makes an empty group and removes it.
CgroupFacts look_at_cgroups();
/// The file systems of gpuward's folders: all those that answer until @p deadline.
std::vector<FolderFacts> look_at_folders(const control::Home& home, Instant deadline);
std::optional<std::vector<SwapArea>> look_at_swap(const std::string& root);
/// @param why_unseen  set where they cannot be looked into in time
std::vector<TempFolderFacts> look_at_temp_folders(const control::Home& home, Instant deadline,
                                                  std::string* why_unseen);
/// @param starter  whose limits services inherit: the warden, else this process (pid 0)
CoreFacts look_at_cores(const std::string& root, Pid starter);
/// Why the kernel log cannot be read; empty: it can.
std::string look_at_kernel_log(const std::string& root);
std::optional<bool> clock_is_synchronised();
UnitFacts look_at_unit(const std::string& root, const control::Home& home);

/// Everything of a driver but NVML's own word.
DriverFacts look_at_driver_files(const std::string& root);
UpgradeFacts look_at_upgrades(const std::string& root);
ToolkitFacts look_at_toolkit(const std::string& root);

/// Asks the warden and every anchor, until @p deadline. @p warden_pid: set where one answers.
WardenFacts look_at_warden(const control::Home& home, Instant deadline, Pid* warden_pid);

}  // namespace gpuward::cli
