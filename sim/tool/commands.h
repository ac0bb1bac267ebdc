#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/session.h"
#include "model/state_file.h"
#include "tool/kernel_log.h"

/// What the gpusim tool does, apart from reading its command line.
namespace gpuward::gpusim::tool {

/// Opens the state file. The tool is a participant like any other.
/// @param for_change  take a slot too.
Result<void> open_state(Session& session, const std::string& path, bool for_change);

/// "1500ns", "50us" and everything that base's parse_duration knows, in ns.
std::optional<std::uint64_t> parse_time(std::string_view text);

Result<void> create(const std::string& path, const CreateOptions& options, bool force);
Result<void> destroy(const std::string& path);

std::string show_table(Session& session);
std::string show_json(Session& session, const std::string& path);

/// What most faults can be narrowed to.
struct Scope {
  int gpu = -1;  ///< -1: all
  int pid = 0;   ///< as seen from here; 0: all
};

Result<void> lose_context(Session& session, const Scope& scope, int code, bool keep_row);
/// Every following call of @p function answers @p code, or hangs.
struct CallFault {
  std::string function;
  std::uint32_t kind = kReturnCode;
  int code = 0;
  std::uint64_t delay_ns = 0;
  std::uint32_t times = kAlways;
};
Result<void> add_call_fault(Session& session, const Scope& scope, const CallFault& fault);
Result<void> set_return_delay(Session& session, const Scope& scope, std::uint64_t ns);
/// @param reason  what NVML is to name as the cause: an index into HealthEntry::held_down
Result<void> set_rate(Session& session, const Scope& scope, std::uint32_t permille,
                      unsigned reason);
/// What is set replaces; counts are added.
struct HealthChange {
  std::optional<int> temperature, memory_temperature;  ///< degrees
  std::optional<int> power_mw;
  std::uint64_t ecc_corrected = 0, ecc_uncorrected = 0;
  unsigned rows_corrected = 0, rows_uncorrected = 0;
  bool rows_pending = false, rows_failed = false;
  unsigned pages_single = 0, pages_double = 0;
  bool pages_pending = false;
  std::optional<unsigned> pcie_width, pcie_generation;
  unsigned pcie_correctable = 0, pcie_non_fatal = 0, pcie_fatal = 0;
  bool persistence_off = false;
};
Result<void> change_health(Session& session, const Scope& scope, const HealthChange& change);
/// The driver's own advice (field 230), with its event and the line of Xid 154.
Result<void> set_recovery_action(Session& session, const Scope& scope, unsigned action,
                                 const KernelLog& log);
/// As after the device cgroup was rewritten: NVML and new contexts answer 999.
Result<void> lose_device_files(Session& session, const Scope& scope);
Result<void> fall_off_the_bus(Session& session, const Scope& scope, const KernelLog& log);
/// Sets flags of DeviceEntry.
Result<void> set_device_flags(Session& session, const Scope& scope, std::uint32_t flags);
Result<void> set_header_flags(Session& session, std::uint32_t flags);
Result<void> set_stride(Session& session, unsigned stride);
Result<void> add_foreign_rows(Session& session, const Scope& scope, std::uint64_t first_pid,
                              unsigned count, std::uint64_t bytes_each,
                              std::uint32_t instance = kNoInstance);
Result<void> add_phantom(Session& session, const Scope& scope, std::uint64_t bytes);
/// Tells NVML's event sets, and writes the driver's line to @p log.
/// @param line  its instance and tail; the rest follows from @p scope
Result<void> raise_xid(Session& session, const Scope& scope, XidLine line, const KernelLog& log);
/// Everything as created. Contexts that were lost stay lost, as on a real card.
Result<void> heal(Session& session);

/// A process that holds memory of a card without using CUDA: what incidents are made of.
struct Hold {
  int gpu = 0;
  std::uint64_t memory_bytes = 0;
  unsigned busy_percent = 0;
  std::uint64_t time_ns = kNever;  ///< then it ends
  std::string name;                ///< empty: keeps its own
};
/// Says "holding" once it does; returns after the time, or with an error.
Result<void> hold(Session& session, const Hold& hold);

}  // namespace gpuward::gpusim::tool
